"""The command behind `video2mp3 burst`: starts a server where it has to, makes the burst, writes the report."""

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from rich.console import Console
from rich.table import Table

from local.loadtest import burst, report
from local.loadtest.home import OwnTarget
from local.loadtest.live import view
from local.loadtest.pods import Pods
from local.loadtest.queues import Queues
from local.loadtest.remote import Remote
from local.loadtest.report import Report
from local.loadtest.rooms import rooms
from local.loadtest.server import OwnServer
from local.loadtest.summary import lines
from local.loadtest.terms import Wish

#: Broken promises that are told; report.json has all of them.
_SHOWN: Final = 20


@dataclass(frozen=True)
class Elsewhere:
    """A server that somebody else runs."""

    url: str
    host: str = ""
    #: Where its pods are, and the context of the kubeconfig that knows the cluster.
    namespace: str | None = None
    context: str | None = None
    #: The management API of its RabbitMQ, with user and password; the path is the virtual host.
    rabbitmq_url: str | None = None


def make(wish: Wish, *, services: bool, idle_seconds: float | None = None) -> int:
    """Make a burst on a server of its own; the exit code.

    Args:
        wish: what is asked for.
        services: whether that is a process per function.
        idle_seconds: how long each of them runs on after its last request; None for ever.

    Raises:
        NoServers: they need servers that do not run.
        NoServer: it does not start.
        Refused: it takes no accounts.
    """
    work = wish.output / "work"
    work.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        found = stack.enter_context(rooms(work, killable=wish.faults)) if services else None
        server = OwnServer(work, found.settings if found else {}, services=services, idle_seconds=idle_seconds)
        stack.callback(_end, server, wish.output)
        server.start()
        made = burst.run(wish, OwnTarget(server, found), stack.enter_context(view()))
    return conclude(made, wish)


def make_elsewhere(wish: Wish, where: Elsewhere) -> int:
    """Make a burst on a server that somebody else runs; the exit code.

    Raises:
        Refused: it takes no accounts.
    """
    pods = Pods(where.namespace, where.context) if where.namespace else None
    queues = None
    if where.rabbitmq_url:
        parts = urlsplit(where.rabbitmq_url)
        queues = Queues(parts._replace(path="").geturl(), unquote(parts.path.lstrip("/")) or "/")
    with view() as watching:
        made = burst.run(wish, Remote(where.url, host=where.host, pods=pods, queues=queues), watching)
    return conclude(made, wish)


def conclude(made: Report, wish: Wish) -> int:
    """Write a report and tell of it; the exit code."""
    write(made, wish.output)
    tell(made, wish.output, burst.clean_up(wish, made))
    return code(made)


def _end(server: OwnServer, folder: Path) -> None:
    server.stop()
    if server.log_path.exists():
        shutil.copy(server.log_path, folder / "server.log")


def write(made: Report, folder: Path) -> None:
    """Write all of a report: figures, pictures, page."""
    from local.loadtest import page, plots

    report.write(made, folder)
    page.write(made, plots.draw(made, folder), folder)


def tell(made: Report, folder: Path, kept: Path | None) -> None:
    """Say on the standard output what came of a burst.

    Args:
        made: its report.
        folder: where that is.
        kept: where the evidence of a broken promise is.
    """
    out = Console(highlight=False)
    table = Table(box=None, show_header=False)
    for name, value in lines(made):
        table.add_row(name, value)
    out.print(table)
    for verdict in made.verdicts:
        word = {True: "kept", False: f"BROKEN {len(verdict.broken)} times", None: "unseen"}[verdict.kept]
        out.print(f"{word}: {verdict.promise}", soft_wrap=True, markup=False)
    for line in made.broken[:_SHOWN]:
        out.print(f"  BROKEN: {line}", soft_wrap=True, markup=False)
    for line in made.missed:
        out.print(f"MISSED: {line}", soft_wrap=True, markup=False)
    if kept is not None:
        out.print(f"The evidence is in {kept}", soft_wrap=True, markup=False)
    out.print(f"The report is {folder / 'report.html'}", soft_wrap=True, markup=False)


def code(made: Report) -> int:
    """The exit code that a report stands for."""
    if made.interrupted:
        return 130
    return 1 if made.broken else 2 if made.missed else 0
