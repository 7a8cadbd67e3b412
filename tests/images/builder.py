"""Builds the images with buildah, on a Debian that is made here, in a store that is gone afterwards."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any, Final

from local.installation import Progress, SetupError, install_packages, this_family
from local.testservers.fleet import cache_folder

ROOT: Final = Path(__file__).parents[2]
TARGETS: Final = ("functions", "convert", "gateway")
#: Programs and the Debian packages that they come in.
PROGRAMS: Final = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}
#: What a base on Debian's packages alone is called in the store.
BASE: Final = "localhost/base:bookworm"
_SUITE: Final = "bookworm"
#: How this machine's pip reaches its index; the images must know nothing of it.
_PIP_SETTINGS: Final = ("cert", "index-url", "extra-index-url", "trusted-host", "timeout", "default-timeout", "proxy")


class BuildError(Exception):
    """An image, or what it needs, cannot be made."""


@dataclass(frozen=True)
class Image:
    """One image, as it lies unpacked."""

    root: Path
    #: As the OCI image specification names its parts: User, Env, Cmd, WorkingDir, StopSignal, Labels.
    config: Mapping[str, Any]
    #: Uncompressed, with its base.
    size_bytes: int
    #: What building it took, with the layers that no target before had.
    seconds: float

    @property
    def environment(self) -> dict[str, str]:
        """The variables that every container of it has."""
        return dict(setting.split("=", 1) for setting in self.config["Env"])


class Store:
    """A place of buildah's own for images.

    Args:
        folder: an empty folder, used by nobody else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._settings = folder / "settings"
        self._settings.mkdir()
        self._driver = "overlay"
        try:
            self.run("info")
        except BuildError:  # this file system cannot be overlaid; every layer is a copy then
            self._driver = "vfs"
            self.run("info")

    def run(self, *arguments: str, folder: Path | None = None) -> str:
        """Run buildah and return what it prints.

        Raises:
            BuildError: it failed; the message has its last lines.
        """
        places = ["--root", str(self._folder / "root"), "--runroot", str(self._folder / "run")]
        command = ["nice", "buildah", *places, "--storage-driver", self._driver, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=_calm(), check=False)
        if done.returncode != 0:
            tail = "\n".join([*done.stdout.splitlines()[-15:], *done.stderr.splitlines()[-25:]])
            raise BuildError(f"buildah {arguments[0]} failed ({done.returncode}):\n{tail}")
        return done.stdout.strip()

    def load(self, tar: Path, name: str) -> Image:
        """Make an image of one file system."""
        began = time.monotonic()
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, str(tar), "/")
        self.run("commit", "--quiet", "--rm", container, name)
        return self._unpacked(name, time.monotonic() - began)

    def build(self, target: str, *, base: str = BASE, context: Path = ROOT) -> Image:
        """Build one target of the Dockerfile.

        Args:
            target: its name.
            base: the image to build on.
            context: the folder with what it is made of.
        """
        began = time.monotonic()
        name = f"localhost/video2mp3-{target}:test"
        # No daemon, no init system and no cgroups are needed for a RUN that is a mere chroot.
        options = ["--layers", "--isolation", "chroot", "--pull-never", "--build-arg", f"BASE={base}"]
        where = ["-f", str(context / "knative" / "Dockerfile"), "--target", target, "-t", name]
        self.run("bud", *options, *self._pip(), *where, str(context))
        return self._unpacked(name, time.monotonic() - began)

    def remove(self) -> None:
        """Leave nothing behind."""
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        mine = [place for place in (line.split()[1] for line in mounts) if place.startswith(f"{self._folder}/")]
        for place in sorted(mine, reverse=True):
            subprocess.run(["umount", place], check=True)
        shutil.rmtree(self._folder)

    def _unpacked(self, name: str, seconds: float) -> Image:
        told = json.loads(self.run("inspect", "--type", "image", name))
        size = json.loads(self.run("images", "--json", name))[0]["size"]
        container = self.run("from", "--pull-never", name)
        root = Path(self.run("mount", container))
        return Image(root, told["OCIv1"]["config"], _bytes(size), seconds)

    def _pip(self) -> list[str]:
        """Options that lay this machine's settings of pip where only RUN sees them."""
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
        ).stdout
        found = {}
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            found[name.rpartition(".")[2]] = value.strip("'")
        chosen = {name: found[name] for name in _PIP_SETTINGS if name in found}
        options = []
        if certificates := chosen.get("cert"):
            chosen["cert"] = "/etc/pip.crt"
            options += ["--volume", f"{certificates}:{chosen['cert']}:ro"]
        file = self._settings / "pip.conf"
        file.write_text("\n".join(["[global]", *(f"{name} = {value}" for name, value in chosen.items()), ""]), "utf-8")
        return [*options, "--volume", f"{file}:/etc/pip.conf:ro"]


@contextmanager
def store() -> Iterator[Store]:
    """A store that is gone afterwards, whatever happens."""
    # Not below pytest's own folder, which it deletes without asking what is mounted there.
    made = Store(Path(tempfile.mkdtemp(prefix="video2mp3-images-")))
    try:
        yield made
    finally:
        made.remove()


def prepare() -> None:
    """Install what building takes.

    Raises:
        SetupError: that is not possible here.
    """
    if os.geteuid() != 0:
        raise SetupError("The images are built and run by root here.", exit_code=1)
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        progress = Progress("Installing what builds images", sys.stderr)
        try:
            install_packages(missing, this_family(), progress)
        finally:
            progress.close()


def base_tar() -> Path:
    """A minimal Debian, made once and kept with the compiled programs.

    Raises:
        BuildError: it cannot be made.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    tar = folder / f"debian-{_SUITE}.tar"
    with (folder / f"{tar.name}.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not tar.exists():
            partial = tar.with_suffix(".partial")
            _make_base(partial)
            partial.rename(tar)
    return tar


def _make_base(tar: Path) -> None:
    # As slim as the bases that people use: programs, no texts about them.
    texts = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")]
    lists = '--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*'
    command = ["nice", "mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", *texts, lists, _SUITE, str(tar)]
    done = subprocess.run(command, capture_output=True, text=True, env=_calm(), check=False)
    if done.returncode != 0:
        tar.unlink(missing_ok=True)
        raise BuildError(f"mmdebstrap failed:\n{done.stderr[-3000:]}")


def _calm(keep: Sequence[str] = ("PATH", "HOME", "http_proxy", "https_proxy", "no_proxy")) -> dict[str, str]:
    """An environment in which a builder depends on nothing that this machine happens to have set."""
    return {**{name: os.environ[name] for name in keep if name in os.environ}, "LC_ALL": "C.UTF-8"}


def _bytes(text: str) -> int:
    number, unit = text.split()
    return round(float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit.upper()])
