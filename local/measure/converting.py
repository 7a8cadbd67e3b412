"""One conversion as the convert function does it, in a process of its own, so that its children are counted too.

`python -m local.measure.converting SOURCE DIRECTORY OPTIONS [plain]` prints the cost of `Converter.handle` as JSON:
from the event at hand to the reply, so claim, fetch, encode, check, store and mark. CONVERT_CPUS is heard. Plain is the
sound alone, without tag, cover, chapters and waveform.
"""

import json
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from unittest import mock

import psutil

from functions.common import events
from functions.convert.ffmpeg import encode_command
from functions.convert.process import Command
from functions.convert.service import Converter, Terms
from local.measure.home import Home

#: Looking takes processor time itself, of which a closer look would take several percent.
_LOOK_SECONDS: Final = 2.0
#: Leaves out all that the recording says of itself.
_NOTHING_SAID: Final = {"tags": "no", "cover": "no", "chapters": "no"}


def main(source: Path, directory: Path, options: Mapping[str, object]) -> None:
    """Prepare a job, convert it, tell what that took."""
    home = Home(directory, env={"CONVERT_CPUS": os.environ.get("CONVERT_CPUS", "0")})
    notice = home.queued(source, {name: str(value) for name, value in options.items()})
    made = home.backends
    config = made.config
    terms = Terms(
        seconds=config.convert_seconds,
        max_duration_seconds=config.max_duration_seconds,
        slots=config.convert_slots,
        cpus=config.convert_cpus,
        work_dir="",
        crash_at="",
    )
    converter = Converter(jobs=made.jobs, blobs=made.blobs, terms=terms, waker=made.waker, halting=made.halting.is_set)
    own, children = _cpu_seconds(resource.RUSAGE_SELF), _cpu_seconds(resource.RUSAGE_CHILDREN)
    with _Peak() as peak:
        began = time.perf_counter()
        reply = converter.handle(notice)
        wall = time.perf_counter() - began
    own = _cpu_seconds(resource.RUSAGE_SELF) - own - peak.cpu_seconds
    children = _cpu_seconds(resource.RUSAGE_CHILDREN) - children
    home.close()
    if reply is None or reply["type"] != events.SUCCEEDED:
        raise RuntimeError(f"the conversion did not succeed: {reply}")
    cost = {"wall_seconds": wall, "cpu_seconds": own + children, "own_cpu_seconds": own, "peak_bytes": peak.size_bytes}
    sys.stdout.write(json.dumps(cost) + "\n")


def _without_waveform(*arguments: Any, **how: Any) -> Command:
    """The command that encodes, without its second output."""
    command = encode_command(*arguments, **how)
    ours = list(command.arguments[: command.arguments.index("pipe:1") + 1])
    both, frames, _ = ours[at := ours.index("-filter_complex") + 1].split(";")
    ours[at] = both.replace("asplit[a][b]", frames.removeprefix("[a]"))
    return Command(command.source, tuple(ours))


class _Peak:
    """The most memory that this process and all it started had at any look, shared pages counted once (Linux)."""

    def __init__(self) -> None:
        self.size_bytes = 0
        #: What looking took.
        self.cpu_seconds = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._end.wait(_LOOK_SECONDS):
            size_bytes = 0
            for process in (me, *me.children(recursive=True)):
                with suppress(psutil.Error):
                    size_bytes += process.memory_full_info().pss
            self.size_bytes = max(self.size_bytes, size_bytes)
        self.cpu_seconds = time.thread_time()


def _cpu_seconds(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    source, directory, options = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    if sys.argv[4:] == ["plain"]:
        # It would say each time that there is no waveform.
        logging.getLogger("functions.convert.encoding").setLevel(logging.ERROR)
        with mock.patch("functions.convert.runs.encode_command", _without_waveform):
            main(source, directory, {**options, **_NOTHING_SAID})
    else:
        main(source, directory, options)
