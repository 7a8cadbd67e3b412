"""A body that is read piece by piece."""

import io

import pytest
from werkzeug.exceptions import ClientDisconnected

from functions.upload.arriving import Arriving


class Broken(io.BytesIO):
    """A stream whose client goes away after its bytes."""

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes; then it breaks off."""
        chunk = super().read(size)
        if not chunk:
            raise ClientDisconnected
        return chunk


@pytest.mark.parametrize("looked", [0, 1, 512, 5000])
def test_what_was_looked_at_is_read_all_the_same(looked: int) -> None:
    """A look takes nothing away, however far it goes, and pieces are as long as they are asked for."""
    content = bytes(range(250)) * 12
    body = Arriving(io.BytesIO(content))
    assert body.look(looked)[:looked] == content[:looked]
    assert b"".join(body.chunks(1000)) == content[:1000]
    assert body.look(1)
    assert b"".join(body.chunks(5000)) == content[1000:]
    assert (body.look(1), list(body.chunks(10)), body.is_broken) == (b"", [], False)


def test_a_body_that_breaks_off_ends_and_says_so() -> None:
    """What came before is read, and nothing is asked of the connection afterwards."""
    body = Arriving(Broken(b"x" * 100))
    told = [(b"".join(body.chunks(60)), body.is_broken) for _ in range(3)]
    assert told == [(b"x" * 60, False), (b"x" * 40, True), (b"", True)]
    assert body.look(1) == b""
