"""A server per module, an account per test, and a few files that every module uploads."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.media.corpus import clip
from tests.media.encode import encode
from tests.support.serving import Api, Served

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Everything in one process, with the settings that a person at home has."""
    with Served(tmp_path_factory.mktemp("server") / "state") as served:
        yield served


@pytest.fixture
def api(server: Served) -> Api:
    """An account of that server that no other test has."""
    return server.account(f"person{next(_NUMBERS)}@example.com")


@pytest.fixture
def stranger(server: Served) -> Api:
    """Another account."""
    return server.account(f"stranger{next(_NUMBERS)}@example.com")


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of two seconds."""
    return clip(tmp_path_factory.mktemp("video") / "holiday.mp4")


@pytest.fixture(scope="session")
def silent_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video without a sound stream, whose conversion fails."""
    return clip(tmp_path_factory.mktemp("silent") / "silent.mp4", more=("-an",))


@pytest.fixture(scope="session")
def long_audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten hours of silence in a few megabytes: its conversion outlasts any test."""
    folder = tmp_path_factory.mktemp("long")
    silence = ("-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo", "-t", "60", "-c:a", "aac", "-b:a", "32k")
    minute = encode(folder / "minute.m4a", *silence)
    return encode(folder / "long.m4a", "-stream_loop", "599", "-i", minute, "-c", "copy")
