"""Signed links: each opens one job's result and waveform for a while."""

import time
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

from functions.common.errors import NotFound
from functions.common.links import API_LINK_SECONDS, Links

JOB = "01890a5d-ac96-774b-bcce-b302099a8057"
OTHER = "01890a5d-ac96-774b-bcce-b302099a8058"
KEY = "k" * 32
LINKS = Links(KEY)


def signature(link: str) -> str:
    """The signature in a link."""
    [found] = parse_qs(urlsplit(link).query)["signature"]
    return found


def test_a_link_opens_its_job() -> None:
    """A link is relative, names its job, and its signature holds for that job."""
    link = LINKS.make(JOB, seconds=60)
    parts = urlsplit(link)
    assert (parts.scheme, parts.netloc, parts.path) == ("", "", "/download")
    assert parse_qs(parts.query)["fid"] == [JOB]
    Links(KEY).check(JOB, signature(link))


def test_a_link_to_the_waveform() -> None:
    """It leads to another path, with the same signature."""
    parts = urlsplit(LINKS.make(JOB, seconds=60, path="/download/waveform"))
    assert (parts.path, parse_qs(parts.query)["fid"]) == ("/download/waveform", [JOB])
    assert signature(parts.geturl()) == signature(LINKS.make(JOB, seconds=60))


def test_a_link_opens_nothing_else() -> None:
    """A link's signature is none for another job."""
    with pytest.raises(NotFound):
        LINKS.check(OTHER, signature(LINKS.make(JOB, seconds=60)))


def test_a_link_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link holds as long as it was made for and not longer."""
    made = time.time()
    signed = signature(LINKS.make(JOB, seconds=API_LINK_SECONDS))
    monkeypatch.setattr(time, "time", lambda: made + 15 * 60 - 2)
    LINKS.check(JOB, signed)
    monkeypatch.setattr(time, "time", lambda: made + 15 * 60 + 2)
    with pytest.raises(NotFound):
        LINKS.check(JOB, signed)


def test_another_key() -> None:
    """A link of another installation opens nothing."""
    with pytest.raises(NotFound):
        LINKS.check(JOB, signature(Links("j" * 32).make(JOB, seconds=60)))


def test_another_purpose() -> None:
    """What was signed with the same key for something else is no link."""
    for salt in ("itsdangerous", "session", ""):
        with pytest.raises(NotFound):
            LINKS.check(JOB, str(URLSafeSerializer(KEY, salt=salt).dumps([JOB, int(time.time() + 60)])))


@pytest.mark.parametrize("content", [None, 7, "x", [], [JOB], [JOB, 1, 2], {}, {"a": 1}])
def test_content_that_is_none_of_ours(content: object) -> None:
    """Even under a right signature only what links hold is taken."""
    with pytest.raises(NotFound):
        LINKS.check(JOB, str(URLSafeSerializer(KEY, salt="download").dumps(content)))


@given(st.text(max_size=100))
def test_garbage(text: str) -> None:
    """Any text at all that is no signature has the answer of a job that does not exist."""
    with pytest.raises(NotFound):
        LINKS.check(JOB, text)


@given(st.integers(0, 10_000), st.lists(st.sampled_from("abcXYZ019-_."), min_size=2, max_size=2, unique=True))
def test_a_changed_letter(place: int, letters: list[str]) -> None:
    """A signature with one letter changed is none."""
    signed = signature(LINKS.make(JOB, seconds=60))
    # The last letter holds bits that base64 does not use.
    place %= len(signed) - 1
    letter = next(letter for letter in letters if letter != signed[place])
    with pytest.raises(NotFound):
        LINKS.check(JOB, signed[:place] + letter + signed[place + 1 :])
