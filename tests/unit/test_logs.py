"""Log lines: they carry the ids at hand, and nobody's words can forge or hide one."""

import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.common import logs

Lines = Callable[[], list[str]]
FORMATS = ("json", "text")
#: What terminals and log collectors obey.
EVIL = "a\nERROR forged\r\x1b[2J\x1b]0;title\x07\x00\x7f\x85\u2028\u2029\u202e\u200b\ud800z"


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def start(log_format: str, monkeypatch: pytest.MonkeyPatch) -> Lines:
    """Log to memory; the lines so far."""
    stream = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        logs.setup(log_format)
    return lambda: stream.getvalue().split("\n")[:-1]


@pytest.fixture(params=FORMATS)
def lines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Lines:
    """Lines of both formats."""
    return start(request.param, monkeypatch)


def test_lines_carry_the_ids(lines: Lines) -> None:
    """Every line in a block has the ids of the block and of those around it, and what it was given itself."""
    with logs.context(request="r-1"), logs.context(job="j-1", event=None):
        logs.add(trace="t-1", other=None)
        logging.getLogger("x").warning("half of %s", "it", extra={"ms": 12})
    [line] = lines()
    for text in ("r-1", "j-1", "t-1", "half of it", "12", "warn"):
        assert text in line.lower()
    assert "event" not in line
    assert "other" not in line


def test_ids_end_with_their_block(lines: Lines) -> None:
    """After a block its ids are gone, also those that were added in it, also after an error."""
    with logs.context(request="r-1"):
        with suppress(KeyError), logs.context(job="j-1"):
            logs.add(event="e-1")
            raise KeyError
        logging.getLogger().info("between")
    logging.getLogger().info("after")
    between, after = lines()
    assert "r-1" in between
    assert not any(text in between for text in ("j-1", "e-1"))
    assert "r-1" not in after


def test_ids_added_outside_of_a_block_are_nobodys(lines: Lines) -> None:
    """Without a block around it an id is added to nothing."""
    logs.add(job="j-1")
    logging.getLogger().info("plain")
    assert "j-1" not in lines()[0]


def test_json_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for machines is one JSON object with time, severity, logger and message."""
    lines = start("json", monkeypatch)
    with logs.context(job="j-1"):
        logging.getLogger("convert").info("done", extra={"seconds": 1.5, "thing": object})
    [line] = map(json.loads, lines())
    assert (line["severity"], line["logger"], line["message"]) == ("INFO", "convert", "done")
    assert (line["job"], line["seconds"], line["thing"]) == ("j-1", 1.5, "<class 'object'>")
    assert line["time"].endswith("+00:00")


def raise_evil() -> None:
    """Fail with somebody's words."""
    raise ValueError(EVIL)


def test_json_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception with its trace stays in the one line."""
    lines = start("json", monkeypatch)
    try:
        raise_evil()
    except ValueError:
        logging.getLogger().exception("broke")
    [line] = map(json.loads, lines())
    assert (line["message"], line["severity"]) == ("broke", "ERROR")
    assert "Traceback" in line["exception"]


@pytest.mark.parametrize("log_format", FORMATS)
def test_nobody_forges_a_line(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newlines and control characters in messages, ids and extras make no second line and reach no terminal."""
    lines = start(log_format, monkeypatch)
    with logs.context(job=EVIL):
        logging.getLogger().info("name: %s", EVIL, extra={"filename_given": EVIL})
    [line] = lines()
    assert not set(line) & set(EVIL) - set("aERROR forged[2J]0;titlez")
    assert line.isprintable()


def test_exceptions_in_text_obey_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trace of an exception may take several lines at a terminal, but its words are not obeyed there."""
    lines = start("text", monkeypatch)
    try:
        raise_evil()
    except ValueError:
        logging.getLogger().exception("broke")
    assert all(line.isprintable() for line in lines())
    assert not any(line.startswith("ERROR forged") for line in lines())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=st.text(), value=st.text(), log_format=st.sampled_from(FORMATS))
def test_any_text_is_one_line(message: str, value: str, log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any text is logged as one printable line."""
    lines = start(log_format, monkeypatch)
    with logs.context(job=value):
        logging.getLogger().info("%s", message)
    [line] = lines()
    assert line.isprintable()


def test_levels(lines: Lines) -> None:
    """What is only for developers is not logged."""
    logging.getLogger().debug("detail")
    logging.getLogger().info("fact")
    [line] = lines()
    assert "fact" in line


def test_threads_do_not_share_ids(lines: Lines) -> None:
    """Each thread's lines carry its own ids, whatever the others add at the same time."""
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        with logs.context(request=f"request-{number}-"):
            barrier.wait(10)
            logs.add(job=f"job-{number}-")
            barrier.wait(10)
            logging.getLogger().info("from-%s-", number)
            barrier.wait(10)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    with logs.context(request="main-"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        logging.getLogger().info("from-main")
    *worked, main = lines()
    assert len(worked) == 4
    for number in range(4):
        [line] = [line for line in worked if f"from-{number}-" in line]
        assert f"request-{number}-" in line
        assert f"job-{number}-" in line
        assert line.count("request-") == line.count("job-") == 1
    assert "main-" in main
    assert "job" not in main
