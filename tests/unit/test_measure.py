"""What benchmarks compute from what they measured, and how they read what servers and the system tell."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from functions.upload.sniff import LOOK_BYTES, not_media
from local.measure import __main__ as command
from local.measure import memory, stores, thorough
from local.measure.figures import Bound, Figure, Pair, alone, compared, interleaved, table
from local.measure.processes import clean_environment, head, parsed, ticks
from local.measure.upload import Body, boxes, multipart, raw
from local.testservers.fleet import Fleet
from tests.media.encode import encode


def shown(*figures: Figure) -> str:
    """The table as text."""
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table(figures))
    return capture.get()


@pytest.mark.parametrize(
    ("bound", "below", "at", "above"),
    [(Bound(1.5), True, True, False), (Bound(1.5, at_most=False), False, True, True)],
    ids=["at most", "at least"],
)
def test_bounds(bound: Bound, below: bool, at: bool, above: bool) -> None:
    """A bound takes its own value, and one side of it."""
    assert [bound.holds(1.4), bound.holds(1.5), bound.holds(1.6)] == [below, at, above]


def test_ratio_is_the_median_of_pairs() -> None:
    """A pair that both sides were slowed down in changes nothing, although it moves the sides' own medians."""
    figure = compared("work", "s", [(2.0, 1.0), (40.0, 20.0), (50.0, 25.0), (9.0, 1.0), (1.0, 1.0)], Bound(2))
    assert figure.value == 2.0
    assert (figure.ours, figure.theirs) == (9.0, 1.0)
    assert figure.spread == (1.0, 9.0)
    assert figure.samples == 5
    assert figure.kept is True


def test_a_figure_that_stands_alone() -> None:
    """Its value is its own median; without a bound it neither keeps nor misses one."""
    figure = alone("memory", "MB", [90.0, 130.0, 110.0], Bound(100))
    assert (figure.value, figure.ours, figure.theirs) == (110.0, 110.0, None)
    assert figure.kept is False
    assert alone("hash", "ms", [25.0]).kept is None


def test_sides_take_turns() -> None:
    """What belongs together holds every side in its place; which one ran first changes from time to time."""
    moments = itertools.count()

    def side(name: str) -> Callable[[], tuple[str, int]]:
        return lambda: (name, next(moments))

    assert list(interleaved(3, side("ours"), side("plain"), side("theirs"))) == [
        (("ours", 0), ("plain", 1), ("theirs", 2)),
        (("ours", 5), ("plain", 4), ("theirs", 3)),
        (("ours", 6), ("plain", 7), ("theirs", 8)),
    ]


def test_table_says_what_was_kept_and_missed() -> None:
    """Each line has its figures, its bound and whether it holds."""
    pairs: list[Pair] = [(132.0, 100.0)]
    text = shown(compared("slow", "ms", pairs, Bound(1.3)), alone("small", "MB", [99.4], Bound(100)))
    slow, small = (line.split() for line in text.splitlines()[1:])
    assert slow == ["slow", "ms", "132", "100", "1.320", "1.320", "-", "1.320", "<=", "1.3", "missed"]
    assert small == ["small", "MB", "99.4", "99.4", "-", "99.4", "<=", "100", "kept"]


def test_figure_as_json() -> None:
    """Bounds are told as people read them."""
    told = compared("upload", "MiB/s", [(300.0, 400.0)], Bound(0.75, at_most=False)).as_dict()
    assert told["bound"] == ">= 0.75"
    assert told["kept"] is True
    assert told["value"] == 0.75


def test_answers_are_read() -> None:
    """Status and body of a whole answer; anything else is a broken connection."""
    answer = parsed(b"HTTP/1.1 202 ACCEPTED\r\nServer: x\r\n\r\n{}\r\n\r\n")
    assert (answer.status, answer.body) == (202, b"{}\r\n\r\n")
    assert parsed(b"HTTP/1.0 200\r\n\r\n").status == 200


@pytest.mark.parametrize("received", [b"", b"hello", b"HTTP/1.1", b"HTTP/1.1 abc\r\n\r\n", b"SSH-2.0 200 x"])
def test_what_is_no_answer(received: bytes) -> None:
    """A server that is going down or is none may send anything."""
    with pytest.raises(ConnectionError, match="no HTTP answer"):
        parsed(received)


def test_request_head() -> None:
    """A request names its host and ends the connection, whatever else it says."""
    text = head("GET", "/jobs", {"Authorization": "Bearer x"})
    assert text == b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer x\r\n\r\n"


def test_cpu_time_of_a_process_and_its_children() -> None:
    """A program's name may look like the fields behind it."""
    fields = "S 1 2 3 4 5 6 7 8 9 10 100 20 3000 400 20 0 1 0"
    assert ticks(f"42 (a) b (c {fields}) {fields}\n") == 3520


def test_servers_start_with_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the person who measures reach no server."""
    monkeypatch.setenv("MAIL_URL", "smtp://somebody")
    monkeypatch.setenv("PATH", "/bin")
    env = clean_environment({"PORT": "1"})
    assert "MAIL_URL" not in env
    assert (env["PATH"], env["PORT"]) == ("/bin", "1")


@pytest.mark.parametrize("kind", [raw, multipart])
def test_bodies_are_as_long_as_they_say(kind: Any) -> None:
    """The same body comes every time, of the declared length, with a file that begins as media does."""
    body = Body(kind, "token", 2)
    whole = b"".join(body)
    assert b"".join(body) == whole
    first, _, content = whole.partition(b"\r\n\r\n")
    length = int(first.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    assert length == len(content)
    file = content if kind is raw else content.partition(b"\r\n\r\n")[2]
    assert not_media(file[:LOOK_BYTES]) is None
    assert file[4:8] == b"ftyp"


def test_movie_without_an_index() -> None:
    """Behind the kind of file stands one box that ends where the file ends."""
    start = boxes(5 * 1024**3)
    kind, box = start[:20], start[20:]
    assert int.from_bytes(kind[:4], "big") == len(kind)
    assert box[:8] == b"\x00\x00\x00\x01mdat"
    assert len(kind) + int.from_bytes(box[8:16], "big") == 5 * 1024**3


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Parts that were measured; each gives one figure, and upload's misses its bound."""
    done: list[str] = []

    def fake(part: str) -> Any:
        def measure(folder: Path, *, quick: bool, say: Any) -> list[Figure]:
            assert folder.is_dir()
            say("something")
            done.append(f"{part} quick" if quick else part)
            return [alone(part, "s", [3.0 if part == "upload" else 1.0], Bound(2))]

        return measure

    for part in command.Part:
        monkeypatch.setitem(command._MEASURES, part, fake(part.value))
    return done


def run(*arguments: str) -> Any:
    """The command, as a shell would start it."""
    app = Typer()
    app.command()(command.main)
    return CliRunner().invoke(app, arguments)


def test_everything_is_measured_unless_parts_are_named(measured: list[str]) -> None:
    """Without names every part runs, with names these in their order; quick reaches them."""
    assert run().exit_code == 0
    assert measured == ["convert", "upload", "gateway", "start", "burst", "hop", "stores", "memory"]
    measured.clear()
    assert run("burst", "start", "--quick").exit_code == 0
    assert measured == ["burst quick", "start quick"]


def test_missed_bound_fails_only_when_strict(measured: list[str]) -> None:
    """Figures of a busy machine stop nobody who did not ask for it."""
    assert run("upload").exit_code == 0
    assert "missed" in run("upload").output
    assert run("upload", "--strict").exit_code == 1
    assert run("convert", "--strict").exit_code == 0
    assert len(measured) == 4


def test_report_as_json(measured: list[str], tmp_path: Path) -> None:
    """The file holds the machine and every figure."""
    path = tmp_path / "report.json"
    assert run("convert", "upload", "--json", str(path)).exit_code == 0
    report = json.loads(path.read_text())
    assert [(figure["name"], figure["kept"]) for figure in report["figures"]] == [("convert", True), ("upload", False)]
    assert report["machine"]["ffmpeg"].startswith("ffmpeg version")
    assert report["machine"]["cores"] >= 1
    assert report["quick"] is False
    assert measured == ["convert", "upload"]


def test_unknown_part() -> None:
    """A part that there is not is wrong usage."""
    assert run("nothing").exit_code == 2


@pytest.mark.parametrize("part", [stores, memory], ids=lambda part: part.__name__)
def test_without_servers_nothing_is_measured(part: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs servers that do not run is left out, with a sentence that says how to start them."""
    monkeypatch.setattr(part, "Fleet", lambda: Fleet(tmp_path / "services"))
    said: list[str] = []
    assert part.measure(tmp_path, quick=True, say=said.append) == []
    assert said
    assert all("local/services up starts" in sentence for sentence in said)


def test_joins_are_compared(tmp_path: Path) -> None:
    """Of a recording of more than one part every join is compared, and none makes another file."""
    recording = tmp_path / "recording.wav"
    encode(recording, "-f", "lavfi", "-i", "sine=f=440:r=8000:d=65", "-f", "wav")
    (tmp_path / "work").mkdir()
    figures = thorough.measure(tmp_path / "work", [recording], say=lambda _text: None)
    assert [figure.ours for figure in figures] == [6, 0, 0]
    assert list((tmp_path / "work").iterdir()) == []
