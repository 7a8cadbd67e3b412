"""What the fault tests upload, and the functions that work on one state directory per module."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.programs import Gate, two_hours
from tests.faults.rig import Rig
from tests.faults.sink import Sink
from tests.media.corpus import clip
from tests.support.serving import Served


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of two seconds."""
    return clip(tmp_path_factory.mktemp("short") / "short.mp4")


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours of silence, whose conversion takes half a minute."""
    return two_hours(tmp_path_factory.mktemp("long"))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The state directory that every function of this module works on."""
    with Rig(tmp_path_factory.mktemp("workers") / "state") as made:
        yield made


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """The slow worker's ffmpeg."""
    return Gate(tmp_path_factory.mktemp("gate") / "bin")


@pytest.fixture(scope="module")
def slow_worker(rig: Rig, gate: Gate) -> Iterator[Served]:
    """A convert whose ffmpeg waits for us."""
    with Served(rig.state, function="convert", env={"CONVERT_SLOTS": "1", "PATH": gate.path}) as served:
        yield served


@pytest.fixture(scope="module")
def worker(rig: Rig) -> Iterator[Served]:
    """Another convert."""
    with Served(rig.state, function="convert", env={"CONVERT_SLOTS": "1"}) as served:
        yield served


@pytest.fixture(scope="module")
def notify(rig: Rig) -> Iterator[Served]:
    """The function that mails."""
    with Served(rig.state, function="notify") as served:
        yield served


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for requests that wait."""
    with ThreadPoolExecutor(4) as made:
        yield made


@pytest.fixture
def video(short: Path) -> bytes:
    """A video of two seconds."""
    return short.read_bytes()


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    """The broker that recover publishes to."""
    with Sink() as made:
        yield made


@pytest.fixture(scope="module")
def recover(rig: Rig, sink: Sink) -> Iterator[Served]:
    """The function that puts right what was left undone."""
    with Served(rig.state, function="recover", env={"BROKER_URL": sink.url}) as served:
        yield served
