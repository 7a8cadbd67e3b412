"""Server-Sent Events as a client reads them (HTML Standard, section 9.2)."""

import json
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from tests.support.serving import Api


class Events:
    """An open event stream; iterate for (name, data) pairs until it ends.

    Args:
        api: who listens.
        path: to what.
    """

    def __init__(self, api: Api, path: str) -> None:
        self.answer = api.call("GET", path, stream=True)
        self._lines: Iterator[str] = self.answer.iter_lines(chunk_size=1, decode_unicode=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up."""
        self.answer.close()

    def welcomed(self) -> Self:
        """Wait for the first line, after which nothing is missed."""
        assert self.answer.status_code == 200, self.answer.text
        assert next(self._lines).startswith(":")
        return self

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        name = ""
        for line in self._lines:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))

    def until(self, name: str, **members: object) -> dict[str, Any]:
        """Read up to the event of this name whose data has these members; its data."""
        for told, data in self:
            if told == name and members.items() <= data.items():
                return data
        raise AssertionError(f"the stream ended without {name} {members}")
