"""Runs an image as Kubernetes would with the manifests' securityContext: nothing of it can be written to but /tmp.

Namespaces and chroot do that, since a container runtime wants control groups, which not every machine hands out.
"""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import psutil

from tests.images.builder import Image

#: Mounts what a runtime mounts, in a mount namespace that ends with the container, then becomes the command.
_SCRIPT: Final = """
set -eu
root=$1 tmp=$2
shift 2
mount --make-rprivate /
for name in hosts resolv.conf; do
  : >>"$root/etc/$name"
  mount --bind "/etc/$name" "$root/etc/$name"
done
mount --rbind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o nosuid,mode=755 dev "$root/dev"
for name in null zero full random urandom; do
  : >"$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
mkdir "$root/dev/shm"
mount -t tmpfs -o nosuid,nodev,noexec,mode=1777 shm "$root/dev/shm"
mount --bind "$tmp" "$root/tmp"
exec chroot "$root" "$@"
"""
_NAMESPACES: Final = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts")


@dataclass(frozen=True)
class Running:
    """A container that runs."""

    process: subprocess.Popen[str]
    port: int
    #: From the start of the first process to the first answer at /healthz.
    start_seconds: float

    def ask(self, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Send a request and return the status and body of its answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def end(self, name: str) -> tuple[int, float]:
        """Send the first process a signal; return the exit code and the seconds that it took."""
        began = time.monotonic()
        _first_process(self.process).send_signal(signal.Signals[name])
        return self.process.wait(20), time.monotonic() - began


def command(image: Image, tmp: Path, settings: Mapping[str, str], arguments: Sequence[str] = ()) -> list[str]:
    """The command that starts a container.

    Args:
        image: what it runs.
        tmp: what it has at /tmp.
        settings: variables beside those of the image.
        arguments: what is run instead of the image's own command.
    """
    uid, gid = image.config["User"].split(":")
    rights = ["--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
    variables = [f"{name}={value}" for name, value in {**image.environment, **settings}.items()]
    as_somebody = ["setpriv", f"--reuid={uid}", f"--regid={gid}", *rights]
    told = ["env", "-i", "-C", image.config["WorkingDir"], *variables]
    inside = [*as_somebody, *told, *(arguments or image.config["Cmd"])]
    return [*_NAMESPACES, "sh", "-c", _SCRIPT, "sh", str(image.root), str(tmp), *inside]


def run(image: Image, tmp: Path, *arguments: str, settings: Mapping[str, str] | None = None) -> str:
    """Run a command in a container of its own and return what it prints; it has to end well."""
    done = subprocess.run(
        command(image, tmp, settings or {}, arguments), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def serving(image: Image, tmp: Path, settings: Mapping[str, str]) -> Iterator[Running]:
    """A container that serves, and answers at /healthz."""
    port = _free_port()
    log = tmp.parent / f"{tmp.name}.log"
    with log.open("w+", encoding="utf-8") as said:
        # As runtimes do, so that /dev/stdout can be opened.
        os.fchown(said.fileno(), *map(int, image.config["User"].split(":")))
        began = time.monotonic()
        process = subprocess.Popen(
            command(image, tmp, {**settings, "PORT": str(port)}), stdout=said, stderr=said, text=True
        )
        try:
            _await(process, port, said)
            yield Running(process, port, time.monotonic() - began)
        finally:
            if process.poll() is None:
                # The end of a namespace's first process ends the others.
                with suppress(psutil.NoSuchProcess, IndexError):
                    _first_process(process).kill()
                process.wait(20)


def folder_for_tmp(parent: Path, name: str) -> Path:
    """A folder such as an emptyDir is: everybody may write to it."""
    folder = parent / name
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def _await(process: subprocess.Popen[str], port: int, said: IO[str]) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            assert answer.read() == b"ok\n"
            return
        if process.poll() is not None or time.monotonic() > deadline:
            said.seek(0)
            raise AssertionError(f"no answer at /healthz ({process.poll()}):\n{said.read()[-4000:]}")
        time.sleep(0.01)


def _first_process(process: subprocess.Popen[str]) -> psutil.Process:
    return psutil.Process(process.pid).children()[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
