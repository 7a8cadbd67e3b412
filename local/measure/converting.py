"""One conversion as the convert function does it, in a process of its own, so that its children are counted too.

`python -m local.measure.converting SOURCE DIRECTORY` prints the cost of `Converter.handle` as JSON: from the event at
hand to the reply, so claim, fetch, encode, check, store and mark.
"""

import json
import resource
import sys
import time
from pathlib import Path

from functions.common import events
from functions.convert.service import Converter, Terms
from local.measure.home import Home


def main(source: Path, directory: Path) -> None:
    """Prepare a job, convert it, tell what that took."""
    home = Home(directory)
    notice = home.queued(source)
    made = home.backends
    config = made.config
    terms = Terms(
        seconds=config.convert_seconds,
        max_duration_seconds=config.max_duration_seconds,
        slots=config.convert_slots,
        work_dir="",
        crash_at="",
    )
    converter = Converter(jobs=made.jobs, blobs=made.blobs, terms=terms, halting=made.halting.is_set)
    cpu, began = _cpu_seconds(), time.perf_counter()
    reply = converter.handle(notice)
    wall, cpu = time.perf_counter() - began, _cpu_seconds() - cpu
    home.close()
    if reply is None or reply["type"] != events.SUCCEEDED:
        raise RuntimeError(f"the conversion did not succeed: {reply}")
    sys.stdout.write(json.dumps({"wall_seconds": wall, "cpu_seconds": cpu}) + "\n")


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
