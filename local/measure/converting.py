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
        cpus=config.convert_cpus,
        work_dir="",
        crash_at="",
    )
    converter = Converter(jobs=made.jobs, blobs=made.blobs, terms=terms, waker=made.waker, halting=made.halting.is_set)
    own, children = _cpu_seconds(resource.RUSAGE_SELF), _cpu_seconds(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    reply = converter.handle(notice)
    wall = time.perf_counter() - began
    own, children = _cpu_seconds(resource.RUSAGE_SELF) - own, _cpu_seconds(resource.RUSAGE_CHILDREN) - children
    home.close()
    if reply is None or reply["type"] != events.SUCCEEDED:
        raise RuntimeError(f"the conversion did not succeed: {reply}")
    cost = {"wall_seconds": wall, "cpu_seconds": own + children, "own_cpu_seconds": own}
    sys.stdout.write(json.dumps(cost) + "\n")


def _cpu_seconds(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
