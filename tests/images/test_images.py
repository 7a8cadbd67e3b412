"""Each image works as uid 65532 on a read-only root, holds what it needs and little else, and ends when told."""

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from functions.common.config import NEEDS
from local.server.state import settings as settings_of_a_state
from tests.images.builder import TARGETS, Image
from tests.images.conftest import MEASURED, Built
from tests.images.container import Running, folder_for_tmp, run, serving

Record = Callable[[str, object], None]
#: In which image a function runs.
IMAGE_OF: Final = {function: "convert" if function == "convert" else "functions" for function in NEEDS}
#: Below these an image has what this project put there.
OURS: Final = ("app", "opt/venv", "srv")
#: The video of a test, in the container.
VIDEO: Final = "/tmp/some.mp4"  # noqa: S108 - the one folder that can be written to
#: What gunicorn loads before it serves.
LOADED: Final = """
import sys, functions.common.app, gunicorn.app.wsgiapp
print(*[m.__file__ for m in sys.modules.values() if getattr(m, "__cached__", None)], sep="\\n")
"""
#: Run in an image: prints which sources there have no bytecode, or bytecode of something else.
STALE: Final = """
import _imp, sys
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
for folder in sys.argv[1:]:
    for source in Path(folder).rglob("*.py"):
        try:
            found = Path(cache_from_source(source)).read_bytes()[:16]
        except FileNotFoundError:
            found = b""
        unchecked = (1).to_bytes(4, "little")
        magic = int.from_bytes(MAGIC_NUMBER, "little")
        if found != MAGIC_NUMBER + unchecked + _imp.source_hash(magic, source.read_bytes()):
            print(source)
"""


def settings(function: str, tmp: Path) -> dict[str, str]:
    """Settings with which a function starts; it reaches no server with them."""
    found = settings_of_a_state(tmp, env={})
    known = {name: found[name] for name in ("TOKEN_PRIVATE_KEY", "TOKEN_JWKS", "LINK_KEY")}
    known |= {"DATABASE_URL": "sqlite:////tmp/video2mp3.db", "BLOBS_URL": "file:///tmp/blobs"}
    known |= {"BROKER_URL": "http://127.0.0.1:9", "MAIL_URL": "file:///tmp/mail", "PUBLIC_URL": "http://localhost"}
    if function == "bridge":
        known |= {"BLOBS_URL": "mongodb://127.0.0.1:9", "BRIDGE_AMQP_URL": "amqp://127.0.0.1:9"}
    return {"FUNCTION_TARGET": function, **{name: known[name] for name in NEEDS[function]}}


@pytest.fixture
def tmp(tmp_path: Path) -> Path:
    """What a container has at /tmp."""
    return folder_for_tmp(tmp_path, "tmp")


@pytest.fixture
def gateway(built: Built, tmp: Path) -> Iterator[Running]:
    """The gateway, before functions that are not there."""
    with serving(built.images["gateway"], tmp, {"UPSTREAM": "http://127.0.0.1:9"}) as running:
        yield running


def test_sizes(built: Built, record_property: Record) -> None:
    """No image grows unseen; the large one is that with ffmpeg."""
    record_property(MEASURED, f"{'programs':10} {built.install_seconds:6.1f} s")
    record_property(MEASURED, f"{'debian':10} {built.debian_seconds:6.1f} s")
    for name, image in {"base": built.base, **built.images}.items():
        record_property(MEASURED, f"{name:10} {image.seconds:6.1f} s {image.size_bytes / 1e6:6.0f} MB")
    added = {name: (image.size_bytes - built.base.size_bytes) / 1e6 for name, image in built.images.items()}
    assert added["functions"] < 250
    assert added["convert"] < 550
    assert added["gateway"] < 40


@pytest.mark.parametrize("function", NEEDS)
def test_each_function_serves(built: Built, tmp: Path, record_property: Record, function: str) -> None:
    """It answers with nothing but /tmp to write to, and a stop ends it at once, with exit code 0."""
    with serving(built.images[IMAGE_OF[function]], tmp, settings(function, tmp)) as running:
        assert running.ask("/no/such/path")[0] == 404
        exit_code, seconds = running.end("SIGTERM")
    record_property(MEASURED, f"{function:10} {running.start_seconds:6.2f} s to /healthz, {seconds:.2f} s to its end")
    assert (exit_code, seconds < 5) == (0, True)


def test_the_gateway_serves(gateway: Running, record_property: Record) -> None:
    """It knows which paths are functions', and the page."""
    record_property(MEASURED, f"{'gateway':10} {gateway.start_seconds:6.2f} s to /healthz")
    status, body = gateway.ask("/jobs")
    assert (status, json.loads(body)["status"]) == (503, 503)
    assert gateway.ask("/")[0] == 200


@pytest.mark.parametrize("name", ["SIGTERM", "SIGQUIT"])
def test_the_gateway_ends(gateway: Running, name: str) -> None:
    """Either signal of an end is heard, with exit code 0."""
    exit_code, seconds = gateway.end(name)
    assert (exit_code, seconds < 5) == (0, True)


def test_the_gateway_asks_for_the_gentle_signal(built: Built) -> None:
    """Kubernetes sends nginx the signal that lets open requests finish; gunicorn takes the usual one for that."""
    assert built.images["gateway"].config["StopSignal"] == "SIGQUIT"
    assert "StopSignal" not in built.images["functions"].config


def test_the_command_line(built: Built, tmp: Path) -> None:
    """The schema is made, and is there the second time; the broker's commands find the triggers."""
    image, server = built.images["functions"], {"DATABASE_URL": "sqlite:////tmp/video2mp3.db"}
    assert "now 0" in run(image, tmp, "video2mp3", "migrate", settings=server)
    assert "already" in run(image, tmp, "video2mp3", "migrate", settings=server)
    read = "from local.cli.broker import EVENTING, load_triggers; print(len(load_triggers(EVENTING / 'triggers')))"
    assert int(run(image, tmp, "python", "-c", read)) > 0
    assert "video2mp3 broker" in run(image, tmp, "video2mp3", "broker", "ingress", "--help")


def test_the_drivers_are_there(built: Built, tmp: Path) -> None:
    """Every database and store that a setting may name can be spoken to, over TLS, too."""
    run(built.images["functions"], tmp, "python", "-c", "import obstore, pika, psycopg, pymongo, pymysql")
    trusted = "import ssl; print(len(ssl.create_default_context().get_ca_certs()))"
    assert int(run(built.images["functions"], tmp, "python", "-c", trusted)) > 50


def test_a_video_becomes_an_mp3(built: Built, tmp: Path) -> None:
    """The hardened ffmpeg of the convert image finds its limits, its decoders and LAME."""
    image = built.images["convert"]
    tone = ["-f", "lavfi", "-i", "sine=duration=2", "-f", "lavfi", "-i", "testsrc=duration=2:size=320x240"]
    run(image, tmp, "ffmpeg", "-v", "error", *tone, "-c:v", "mpeg4", "-c:a", "aac", VIDEO)
    said = run(image, tmp, "video2mp3", "convert", VIDEO)
    assert "without the limits" not in said
    assert (tmp / "some.mp3").stat().st_size > 10_000


@pytest.mark.parametrize("target", TARGETS)
def test_nobody_is_root(built: Built, tmp: Path, target: str) -> None:
    """Who runs it has no rights, has a name, and owns nothing of what it runs."""
    image = built.images[target]
    assert image.config["User"] == "65532:65532"
    assert run(image, tmp, "id", "-un").strip() == "video2mp3"
    assert [path for path in ours(image) if os.lstat(path).st_uid != 0] == []


@pytest.mark.parametrize("target", TARGETS)
def test_only_root_could_change_it(built: Built, target: str) -> None:
    """Everybody may read what is ours and nobody write to it; no program was added that lends its owner's rights."""
    image = built.images[target]
    modes = {path: path.lstat().st_mode for path in ours(image) if not path.is_symlink()}
    assert [path for path, mode in modes.items() if mode & 0o022 or not mode & stat.S_IROTH] == []
    assert lending(image) - lending(built.base) == set()


@pytest.mark.parametrize("target", ["functions", "convert"])
def test_all_is_compiled(built: Built, tmp: Path, target: str) -> None:
    """No source of ours or of a package lacks its bytecode, and none that a start reads, Python's own included."""
    image = built.images[target]
    assert run(image, tmp, "python", "-c", STALE, "/app", "/opt/venv/lib").splitlines() == []
    for source in run(image, tmp, "python", "-c", LOADED).split():
        compiled = image.root / Path(source).parent.relative_to("/") / "__pycache__"
        assert list(compiled.glob(f"{Path(source).stem}.cpython-*.pyc")), source


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_not_there(built: Built, target: str) -> None:
    """No installer but Debian's, no compiler, nothing that was fetched on the way, nothing of a developer's."""
    root = built.images[target].root
    programs = {
        path.name for folder in ("usr/bin", "usr/local/bin", "opt/venv/bin") for path in (root / folder).glob("*")
    }
    assert programs & {"pip", "pip3", "uv", "gcc", "cc", "c++", "make", "git", "curl"} == set()
    assert list(root.glob("**/site-packages/pip")) + list(root.glob("**/site-packages/setuptools")) == []
    assert list((root / "var/lib/apt/lists").glob("*")) + list((root / "var/cache").rglob("*.deb")) == []
    assert [path for path in ours(built.images[target]) if path.name in {"tests", ".env", ".git", "compose.yaml"}] == []


def ours(image: Image) -> list[Path]:
    """Everything that this project put into an image."""
    return [path for folder in OURS for path in (image.root / folder).rglob("*")]


def lending(image: Image) -> set[str]:
    """Files that run with their owner's rights or group, or that everybody may write to."""
    found = set()
    for folder, _, names in os.walk(image.root):
        for name in names:
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH):
                found.add(str(path.relative_to(image.root)))
    return found
