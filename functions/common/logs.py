"""Structured logs: JSON lines in a cluster, readable ones at a terminal.

Every line carries the ids of the job, event, trace and request at hand. What is logged is chosen by the caller:
never a token, a password, a body or a query string.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

_CONTEXT: ContextVar[dict[str, str]] = ContextVar("log context")
#: Attributes that every record has; what else a record carries was given as `extra`.
_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

#: Libraries that tell each of their steps; what fails there is told by whoever uses them.
_QUIET: Final = {"alembic": logging.WARNING, "pika": logging.CRITICAL}


@contextmanager
def context(**ids: str | None) -> Iterator[None]:
    """Add ids (job, event, trace, request) to every line logged inside the block, in this thread."""
    token = _CONTEXT.set({**_CONTEXT.get({}), **{name: value for name, value in ids.items() if value}})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def add(**ids: str | None) -> None:
    """Add ids to the block that this thread is in."""
    _CONTEXT.get({}).update({name: value for name, value in ids.items() if value})


def setup(log_format: str, *, level: str = "INFO") -> None:
    """Send all logs from this level on to standard error, as "json" or "text"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(quiet)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    given = {name: value for name, value in vars(record).items() if name not in _PLAIN}
    return {**_CONTEXT.get({}), **given}


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = " ".join(f"{name}={value!s}" for name, value in _fields(record).items())
        lines = [f"{moment} {record.levelname.lower():7} {record.getMessage()}  {fields}".rstrip()]
        if record.exc_info:
            lines += [f"  {line}" for line in self.formatException(record.exc_info).split("\n")]
        return "\n".join(map(_shown, lines))


def _shown(text: str) -> str:
    """A stranger's words may hold control characters; a terminal must not obey them."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
