"""What stands around ffmpeg: limits where the platform has them, and walls where it lets us build some.

Behind bubblewrap's walls ffmpeg sees programs, libraries and the one file that it reads: no network, no other process,
no other file, nothing to write to. A hardened container allows nobody to build walls within it; there the container is
the sandbox. docs/media.md tells which applies where.
"""

import logging
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_MEMORY_BYTES: Final = 1024**3
_LIMITERS: Final = ("setpriv", "prlimit")
#: Where programs and libraries are, but for what lies in /usr: links into it on most systems.
_SYSTEM: Final = tuple(map(Path, ("/bin", "/sbin", "/lib", "/lib32", "/lib64")))
#: How the linker finds libraries (ld.so(8)), and Debian the one of several.
_LINKER: Final = ("/etc/ld.so.cache", "/etc/alternatives")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one process may use; None stands for no limit."""

    #: By time.monotonic.
    deadline: float | None


def confined(arguments: tuple[str, ...], source: Path, limits: Limits) -> list[str]:
    """Return the command that runs another one within all limits and walls that there are.

    Args:
        arguments: the other command.
        source: the one file of its own that it sees; an absolute path.
        limits: what it may use.
    """
    walls = _walls()
    if walls:
        walls = (*walls, "--ro-bind", str(source), str(source), "--chdir", "/", "--")
    return [*_guards(limits), *walls, *arguments]


def _guards(limits: Limits) -> list[str]:
    """What sets death with the parent, and resource limits."""
    guards = []
    limiters = _limiters()
    if "setpriv" in limiters:
        guards += ["setpriv", "--pdeathsig", "KILL", "--"]
    if "prlimit" in limiters:
        # It writes to pipes alone, never to a file.
        guards += ["prlimit", f"--as={_MEMORY_BYTES}", "--nofile=64", "--core=0", "--fsize=0"]
        if limits.deadline is not None:
            # More CPU time than wall-clock time on all cores together is a loop.
            # The soft limit's signal can be told from others, the hard one's cannot.
            most = int((limits.deadline - time.monotonic()) * (os.cpu_count() or 1)) + 10
            guards.append(f"--cpu={most}:{most + 5}")
        guards.append("--")
    return guards


@cache
def _limiters() -> frozenset[str]:
    found = frozenset(limiter for limiter in _LIMITERS if shutil.which(limiter))
    for limiter in set(_LIMITERS) - found:
        _log.warning("%s is not on this machine: ffmpeg runs without the limits it sets", limiter)
    return found


@cache
def _walls() -> tuple[str, ...]:
    """The beginning of a command behind walls, empty where there can be none; the log says why."""
    reason = _why_none()
    if reason:
        _log.info("ffmpeg runs without a sandbox of its own: %s", reason)
        return ()
    _log.info("ffmpeg runs in a sandbox by bubblewrap, without network and other files")
    return _bubblewrap()


def _why_none() -> str:
    if shutil.which("bwrap") is None:
        return "bubblewrap is not on this machine"
    if not all(os.path.realpath(shutil.which(program) or "").startswith("/usr/") for program in ("ffmpeg", "ffprobe")):
        return "ffmpeg does not lie in /usr"
    tried = subprocess.run([*_bubblewrap(), "--", "true"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"this platform does not allow it ({tried.stderr.strip()[:200]})"


def _bubblewrap() -> tuple[str, ...]:
    # No new session: ffmpeg has one already, and dies with its process group.
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--cap-drop", "ALL", "--ro-bind", "/usr", "/usr"]
    for folder in _SYSTEM:
        if folder.is_symlink():
            command += ["--symlink", str(folder.readlink()), str(folder)]
        else:
            command += ["--ro-bind-try", str(folder), str(folder)]
    for path in _LINKER:
        command += ["--ro-bind-try", path, path]
    return tuple(command)
