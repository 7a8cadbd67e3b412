"""The processes of this machine, stand-ins for ffmpeg that do as they are told, and what keeps the real one busy."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.media.encode import encode
from tests.support.serving import Served

FFMPEG: Final = shutil.which("ffmpeg") or "ffmpeg"


def two_hours(folder: Path) -> Path:
    """Two hours of silence in a few megabytes: half a minute of work, with a percent told every third of a second."""
    silence = ("-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo", "-t", "60", "-c:a", "aac", "-b:a", "32k")
    minute = encode(folder / "one-minute.m4a", *silence)
    return encode(folder / "two-hours.m4a", "-stream_loop", "119", "-i", minute, "-c", "copy")


def commands_naming(path: Path) -> list[int]:
    """Ids of the processes whose command line names a path below this one (Linux)."""
    wanted, found = os.fsencode(path) + b"/", []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


class Gate:
    """An ffmpeg that waits, before its work or after it, until a test lets it go on.

    Args:
        folder: where the stand-in goes; first on PATH it takes the place of the real one.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._closed = folder / "closed"
        self._stop = folder / "stop"
        #: What PATH has to be for it.
        self.path: Final = f"{folder}:{os.environ['PATH']}"
        script = folder / "ffmpeg"
        script.write_text(
            f"""#!/bin/sh
while [ -e {self._closed} ]; do sleep 0.02; done
[ -e {self._stop} ] || exec {FFMPEG} "$@"
{FFMPEG} "$@"
code=$?
kill -s STOP -- "-$(cat {self._stop})"
rm {self._stop}
exit $code
"""
        )
        script.chmod(0o755)

    def close(self) -> None:
        """Let every ffmpeg that is started from now on wait before its work."""
        self._closed.touch()

    def open(self) -> None:
        """Let them go on."""
        self._closed.unlink(missing_ok=True)

    def stop_after(self, group: int) -> None:
        """Let the next ffmpeg stop a process group when its work is done, before anybody sees that it is."""
        temporary = self._stop.with_suffix(".new")
        temporary.write_text(str(group))
        temporary.replace(self._stop)

    def stopped(self) -> bool:
        """Whether it has done so."""
        return not self._stop.exists()


class Poisoned:
    """An ffmpeg that one file makes take the whole server down with it, as a bug that eats the machine would.

    Args:
        folder: where the stand-in goes; first on PATH it takes the place of the real one.
        poison_bytes: size of the file that does it.
        others_seconds: how long every other file takes longer than it has to, so that it is hit as well.
    """

    def __init__(self, folder: Path, *, poison_bytes: int, others_seconds: float = 0) -> None:
        folder.mkdir()
        self._group = folder / "group"
        #: What PATH has to be for it.
        self.path: Final = f"{folder}:{os.environ['PATH']}"
        script = folder / "ffmpeg"
        script.write_text(
            f"""#!/bin/sh
for word; do case $word in file:*/source) source=${{word#file:}};; esac; done
if [ "$(wc -c <"$source")" -eq {poison_bytes} ]; then
  sleep {others_seconds / 2}
  while [ ! -e {self._group} ]; do sleep 0.02; done
  kill -s KILL -- "-$(cat {self._group})"
  exit 1
fi
sleep {others_seconds}
exec {FFMPEG} "$@"
"""
        )
        script.chmod(0o755)

    @contextmanager
    def aimed_at(self, server: Served) -> Iterator[None]:
        """Say which process group it takes down: a server's that was just started, and only while the block lasts."""
        temporary = self._group.with_suffix(".new")
        temporary.write_text(str(server.process.pid))
        temporary.replace(self._group)
        try:
            yield
        finally:
            self._group.unlink()
            server.kill()
