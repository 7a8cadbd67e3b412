"""Programs that no package brings, compiled from Go modules at exact versions."""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.testservers.server import ServerError


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Make each program in one process at a time, whichever trees want it.

    Args:
        folder: where the programs are kept.
        name: of the program.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def downloaded(module: str, version: str) -> Path:
    """A module's source, where Go keeps it and nobody may write.

    Raises:
        ServerError: there is no Go, or the module cannot be had.
    """
    if shutil.which("go") is None:
        raise ServerError(f"{module} comes by Go, and there is no go on PATH; see https://go.dev/doc/install.")
    # Not `go install`: that asks for the list of a module's versions, which mirrors may not have.
    return Path(json.loads(_go("mod", "download", "-json", f"{module}@{version}"))["Dir"])


@contextmanager
def copied(module: str, version: str) -> Iterator[Path]:
    """A module's source, in a folder that may be written to and is gone afterwards.

    Raises:
        ServerError: there is no Go, or the module cannot be had.
    """
    found = downloaded(module, version)
    with tempfile.TemporaryDirectory(prefix="video2mp3-build-") as folder:
        source = Path(folder) / "source"
        shutil.copytree(found, source)
        for path in (source, *source.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)
        yield source


def build(source: Path, package: str, program: Path) -> None:
    """Compile a package of a source folder.

    Raises:
        ServerError: the compiler's words.
    """
    program.parent.mkdir(parents=True, exist_ok=True)
    unfinished = program.with_suffix(f".{os.getpid()}")
    try:
        # Of a module's own vendor folder, which Go would prefer, modules as they are published have only half.
        command = ("build", "-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-o", str(unfinished), package)
        _go(*command, folder=source)
        unfinished.rename(program)
    finally:
        unfinished.unlink(missing_ok=True)


def _go(*arguments: str, folder: Path | None = None) -> str:
    ended = subprocess.run(["go", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise ServerError(f"go {arguments[0]} failed:\n{ended.stderr.strip() or ended.stdout.strip()}")
    return ended.stdout
