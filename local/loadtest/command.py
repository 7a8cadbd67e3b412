"""The command behind `video2mp3 burst`: starts a server where it has to, makes the burst, writes the report."""

import shutil
import sys

from local.loadtest import burst, report
from local.loadtest.burst import Wish
from local.loadtest.home import OwnTarget
from local.loadtest.live import Lines
from local.loadtest.report import Report
from local.loadtest.server import OwnServer


def make(wish: Wish, *, services: bool) -> int:
    """Make a burst; the exit code."""
    wish.output.mkdir(parents=True, exist_ok=True)
    (wish.output / "work").mkdir(exist_ok=True)
    view = Lines()
    server = OwnServer(wish.output / "work", {}, services=services)
    try:
        server.start()
        made = burst.run(wish, OwnTarget(server), view)
    finally:
        server.stop()
        if server.log_path.exists():
            shutil.copy(server.log_path, wish.output / "server.log")
    report.write(made, wish.output)
    burst.clean_up(wish, made)
    for line in made.broken:
        sys.stdout.write(f"BROKEN: {line}\n")
    return code(made)


def code(made: Report) -> int:
    """The exit code that a report stands for."""
    if made.interrupted:
        return 130
    return 1 if made.broken else 2 if made.missed else 0
