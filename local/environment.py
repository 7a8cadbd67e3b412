#!/usr/bin/env python3
"""Sees that the virtual environment in `.venv` is what the locks say; `local/run` and `local/test` start here.

`python3 local/environment.py [--dev] [COMMAND [ARGS...]]` checks a stamp, has `local/installation.py` make or refresh
the environment where it must, then becomes `.venv/bin/COMMAND`. Both use nothing but the standard library, and nothing
newer than Python 3.8: an old Python must get far enough to look for a newer one and to say so when there is none.

Exit codes: 1 something is missing that a person has to install, 2 wrong usage, 3 an installation failed,
127 no such COMMAND, 130 interrupted; otherwise COMMAND's own.
"""
# Every start comes through here, mostly to find nothing to do. So this imports little and keeps paths plain strings:
# pathlib, subprocess and their like would double the cost.
# ruff: noqa: PTH110, PTH113, PTH120, PTH123

from __future__ import annotations

import hashlib
import os
import sys

RUNTIME_LOCK = "requirements.lock"
DEV_LOCK = "requirements-dev.lock"
PROGRAMS = ("ffmpeg", "ffprobe")


def describe(root: str, lock: str) -> dict[str, str]:
    """Return what the stamp of a finished environment says, read from the files that decide about it."""
    digest = hashlib.sha256()
    for path in (lock, "pyproject.toml", ".venv/pyvenv.cfg"):  # the last one names the Python version
        with open(f"{root}/{path}", "rb") as file:
            digest.update(file.read() + b"\0")
    return {"lock": lock, "sha256": digest.hexdigest(), **place(root)}


def place(root: str) -> dict[str, str]:
    """Return where the environment is, and its Python: both are written into its scripts."""
    venv = os.path.realpath(f"{root}/.venv")
    return {"folder": venv, "python": os.path.realpath(f"{venv}/bin/python")}


def read_stamp(root: str) -> dict[str, str]:
    """Return what the stamp says, an empty dict where there is none."""
    try:
        with open(f"{root}/.venv/stamp", encoding="utf-8") as file:
            return dict(line.rstrip("\n").split(" ", 1) for line in file)
    except (OSError, ValueError):
        return {}


def write_stamp(root: str, lock: str) -> None:
    """Declare the environment finished: this comes last, so an interrupted installation is known by its absence."""
    with open(f"{root}/.venv/stamp", "w", encoding="utf-8") as file:
        file.writelines(f"{key} {value}\n" for key, value in describe(root, lock).items())


def is_usable(root: str, stamp: dict[str, str]) -> bool:
    """Say whether the environment was finished, in this place, on a Python that is still there."""
    here = place(root)
    return os.path.exists(here["python"]) and all(stamp.get(key) == value for key, value in here.items())


def is_current(root: str, dev: bool) -> bool:
    """Say whether the environment needs nothing done; one for development also serves for running."""
    stamp = read_stamp(root)
    lock = stamp.get("lock", "")
    if lock not in ((DEV_LOCK,) if dev else (RUNTIME_LOCK, DEV_LOCK)) or not is_usable(root, stamp):
        return False
    try:
        return stamp == describe(root, lock)
    except OSError:
        return False


def which(program: str) -> str | None:
    """Return where a program is on PATH (shutil's takes three times as long to import as all of this)."""
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = f"{folder or '.'}/{program}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def is_ready(root: str, dev: bool) -> bool:
    """Say whether everything is there."""
    return is_current(root, dev) and all(which(program) for program in PROGRAMS)


def main(arguments: list[str]) -> int:
    """Prepare, then become the command; return only what went wrong (or 0 when no command was given)."""
    root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    dev = arguments[:1] == ["--dev"]
    command = arguments[1:] if dev else arguments
    if command and command[0].startswith("-"):
        sys.stderr.write("Usage: python3 local/environment.py [--dev] [COMMAND [ARGS...]]\n")
        return 2
    if not is_ready(root, dev):
        sys.path.insert(0, root)
        from local.installation import install

        status = install(root, dev)
        if status != 0:
            return status
    if not command:
        return 0
    program = f"{root}/.venv/bin/{command[0]}"
    try:
        os.execv(program, [program, *command[1:]])  # noqa: S606 - no shell is the point
    except OSError as error:
        sys.stderr.write(f"{program} can't be started: {error.strerror}\n")
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
