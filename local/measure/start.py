"""Cold starts: each function's gunicorn beside functions-framework saying hello under the same command."""

import sys
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Final

from functions.auth.passwords import check_password
from functions.common.config import NEEDS, OPTIONAL
from local.measure.figures import Bound, Figure, Pair, alone, compared, interleaved
from local.measure.home import EMAIL, PASSWORD, Home
from local.measure.processes import HOST, Server, free_port, head

_ROOT: Final = Path(__file__).parents[2]
_BIN: Final = Path(sys.executable).parent
_HELLO: Final = 'def hello(request):\n    return "hello"\n'
#: Nobody listens there; only what is not measured would publish.
_BROKER: Final = "http://127.0.0.1:9"
_MOST_HEALTHY: Final = Bound(1.3)
_MOST_FIRST: Final = Bound(3)


@dataclass(frozen=True)
class Start:
    """Seconds from the start of the process."""

    #: To the first 200 of /healthz.
    healthy: float
    #: To the end of the first real answer, where one was asked for.
    first: float


@dataclass
class _Samples:
    healthy: list[Pair] = field(default_factory=list)
    first: list[Pair] = field(default_factory=list)


def measure(folder: Path, *, quick: bool, say: Callable[[str], None]) -> list[Figure]:
    """Compare.

    Args:
        folder: an empty folder to work in.
        quick: whether to see only that it works.
        say: told what is going on.
    """
    repeats = 2 if quick else 11
    home = Home(folder / "state")
    source = folder / "clip.mp4"
    source.write_bytes(b"no matter")
    bearer = {"Authorization": f"Bearer {home.token}"}
    basic = b64encode(f"{EMAIL}:{PASSWORD}".encode()).decode()
    requests = {
        "jobs": head("GET", "/jobs", bearer),
        "download": head("GET", f"/download?fid={home.succeeded(source, b'm' * 100_000)}", bearer),
        "auth": head("POST", "/login", {"Authorization": f"Basic {basic}", "Content-Length": "0"}),
    }
    hashing: list[float] = []
    hello = _Hello(folder)
    figures, firsts = [], []
    for function in [name for name in NEEDS if name not in OPTIONAL]:
        request = requests.get(function)

        def ours(function: str = function, request: bytes | None = request) -> Start:
            start = _start(function_command(function, home), folder, request)
            if function != "auth":
                return start
            # A login has to hash; that time is nobody's start.
            hashing.append(_hashing_seconds(home.password_hash))
            return replace(start, first=start.first - hashing[-1])

        ours()
        hello()
        samples = _Samples()
        for one, other in interleaved(repeats, ours, hello):
            samples.healthy.append((one.healthy * 1000, other.healthy * 1000))
            samples.first.append((one.first * 1000, other.first * 1000))
        figure = compared(f"start of {function}", "ms", samples.healthy, _MOST_HEALTHY)
        figures.append(figure)
        say(f"{function}: {figure.value:.2f}")
        if request is not None:
            firsts.append(compared(f"first answer of {function}", "ms", samples.first, _MOST_FIRST))
    home.close()
    return [*figures, *firsts, alone("one hash (left out of auth)", "ms", [seconds * 1000 for seconds in hashing])]


@dataclass(frozen=True)
class Command:
    """How a program is started."""

    argv: list[str]
    port: int
    env: dict[str, str]
    folder: Path


def function_command(function: str, home: Home) -> Command:
    """What `video2mp3 serve FUNCTION` becomes, and what the images run."""
    port = free_port()
    env = {**home.settings, "BROKER_URL": _BROKER, "FUNCTION_TARGET": function, "HOST": HOST, "PORT": str(port)}
    return Command([str(_BIN / "gunicorn"), "-c", str(_ROOT / "functions/gunicorn.conf.py")], port, env, _ROOT)


class _Hello:
    """The smallest function there is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._main = folder / "hello" / "main.py"
        self._main.parent.mkdir()
        self._main.write_text(_HELLO)

    def __call__(self) -> Start:
        port = free_port()
        argv = [
            *(str(_BIN / "gunicorn"), "-b", f"{HOST}:{port}", "-k", "gthread", "--threads", "8"),
            *("--no-control-socket", f'functions_framework:create_app("hello", "{self._main}")'),
        ]
        return _start(Command(argv, port, {}, self._folder), self._folder, head("GET", "/"))


def _start(command: Command, folder: Path, request: bytes | None) -> Start:
    with Server(command.argv, port=command.port, log=folder / "log", env=command.env, folder=command.folder) as server:
        server.wait()
        healthy = server.age()
        if request is not None:
            server.expect(200, [request])
        return Start(healthy, server.age())


def _hashing_seconds(password_hash: str) -> float:
    """What checking one password takes right now, once all is loaded."""
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        check_password(PASSWORD, password_hash)
        taken.append(time.perf_counter() - began)
    return median(taken)
