"""The process that tests.support.command starts once: it has loaded the command line, and forks for each start of it.

It answers one request after another on the socket that is its standard input. A child is what an exec of the command
would be: a session, a working directory, an environment and standard streams of its own, and Python's own end. What a
start imports must not depend on any of them, which tests/manifests/test_house.py holds the house to.
"""

import gc
import importlib
import json
import os
import pkgutil
import selectors
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import functions
import local.cli
import local.cli.main
import local.delivery
import local.server

#: Largest request: arguments and environment.
MOST_BYTES: Final = 128 * 1024
#: What gunicorn loads once it knows its settings, and what our own modules load when it is first needed.
_LATE: Final = ("gunicorn.app.wsgiapp", "gunicorn.glogging", "gunicorn.workers.gthread", "sqlalchemy.dialects.sqlite")


def load() -> None:
    """Import what starts import, but for the functions' `main.py`, which are loaded by their paths."""
    for package in (functions, local.cli, local.server, local.delivery):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith((".main", ".env", ".gunicorn.conf")) and ".versions" not in module.name:
                importlib.import_module(module.name)
    for name in _LATE:
        importlib.import_module(name)
    threads = os.listdir("/proc/self/task")  # noqa: PTH208 - it is a list of numbers
    assert len(threads) == 1, "a library starts a thread when it is imported; a child would not have it"
    # What is never looked at again is never copied either.
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class Child:
    """A process that was asked for, and where to tell how it ended."""

    process_id: int
    ended: socket.socket


def serve(requests: socket.socket) -> None:
    """Fork for each request and tell how each child ended; in a child, return."""
    children: dict[int, Child] = {}
    with selectors.DefaultSelector() as ready:
        ready.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is requests:
                    child = answer(requests, children)
                    if child is None:
                        return
                    watched = os.pidfd_open(child.process_id)
                    children[watched] = child
                    ready.register(watched, selectors.EVENT_READ)
                else:
                    ready.unregister(key.fd)
                    os.close(key.fd)
                    bury(children.pop(key.fd))


def answer(requests: socket.socket, others: Mapping[int, Child]) -> Child | None:
    """Fork for one request; None in the child itself, which has nothing of the others'."""
    content, descriptors, _, _ = socket.recv_fds(requests, MOST_BYTES, 4)
    if not content:
        sys.exit()
    *streams, told = descriptors
    ended = socket.socket(fileno=told)
    process_id = os.fork()
    if process_id:
        for descriptor in streams:
            os.close(descriptor)
        return Child(process_id, ended)
    requests.close()
    for watched, other in others.items():
        os.close(watched)
        other.ended.close()
    become(json.loads(content), streams)
    tell(ended, os.getpid())
    return None


def bury(child: Child) -> None:
    """Tell the exit code of a child that has ended."""
    _, status = os.waitpid(child.process_id, 0)
    tell(child.ended, os.waitstatus_to_exitcode(status))


def tell(ended: socket.socket, number: int) -> None:
    """Tell whoever asked for a process its id, later its exit code; nobody may listen any more."""
    with ended, suppress(OSError):
        ended.send(str(number).encode(), socket.MSG_NOSIGNAL)


def become(asked: dict[str, Any], streams: list[int]) -> None:
    """Be the process that a request asks for."""
    os.setsid()
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = asked["arguments"]
    sys.path[0:0] = [str(Path(sys.argv[0]).parent)]


def exec_here(path: str, arguments: list[str], env: dict[str, str]) -> NoReturn:
    """Run gunicorn, which a start of one function becomes, without loading it anew."""
    from gunicorn.app.wsgiapp import run

    assert Path(path).name == "gunicorn"
    os.environ.clear()
    os.environ.update(env)
    sys.argv = arguments
    run()
    sys.exit()


if __name__ == "__main__":
    load()
    # The descriptor stays ours when a child gets a standard input of its own.
    serve(socket.socket(fileno=os.dup(0)))
    os.execve = exec_here  # type: ignore[assignment]
    local.cli.main.run()
