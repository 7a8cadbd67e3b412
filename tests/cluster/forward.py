"""`kubectl port-forward`, which ends with its pod, and at other moments; here it is started again."""

import re
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

from tests.cluster.kube import Kube

_PORT: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")
#: After these words it lives on, but does not forward any more.
_DEAD: Final = re.compile("Timeout occur|lost connection to pod")
_START_SECONDS: Final = 60.0


class Forward:
    """A port of this machine that leads to a Service of the cluster; it stays the same for as long as this is open.

    Args:
        namespace: where the Service is.
        service: its name.
        port: its port.
    """

    def __init__(self, namespace: str, service: str, port: int) -> None:
        self.port = 0
        self._remote = port
        self._command = ["kubectl", "-n", namespace, "port-forward", "--address", "127.0.0.1", f"service/{service}"]
        self._said: deque[str] = deque(maxlen=20)
        self._forwards = threading.Event()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._keep, name=f"forward to {service}")

    def __enter__(self) -> Self:
        """Wait until it forwards.

        Raises:
            AssertionError: it does not; the text has kubectl's words.
        """
        self._thread.start()
        if not self._forwards.wait(_START_SECONDS):
            self.close()
            words = "".join(dict.fromkeys(self._said))
            raise AssertionError(f"{' '.join(self._command)} :{self._remote}\n{words}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, whatever became of the test."""
        self.close()

    @property
    def url(self) -> str:
        """The origin that a client of HTTP asks."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End it."""
        self._closed.set()
        with self._lock:
            if self._process is not None:
                self._process.terminate()
        self._thread.join()

    def _keep(self) -> None:
        while not self._closed.is_set():
            self._once()
            self._closed.wait(0.3)

    def _once(self) -> None:
        with self._lock:
            if self._closed.is_set():
                return
            ports = f"{self.port or ''}:{self._remote}"
            self._process = subprocess.Popen(
                [*self._command, ports],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        with self._process as process:
            for line in process.stdout or ():
                self._hear(line, process)

    def _hear(self, line: str, process: "subprocess.Popen[str]") -> None:
        found = _PORT.match(line)
        if found:
            self.port = int(found[1])
            self._forwards.set()
        elif not line.startswith("Handling connection"):
            self._said.append(line)
            if _DEAD.search(line):
                process.terminate()


@contextmanager
def reached(kube: Kube, url: str) -> Iterator[str]:
    """A URL of a server as it is reached from here: through a port-forward where its host is a Service.

    Args:
        kube: the cluster, whose namespace short names belong to.
        url: with the port in it.
    """
    parts = urlsplit(url)
    service, _, rest = (parts.hostname or "").partition(".")
    namespace = rest.partition(".")[0] or kube.namespace
    if not kube.has("service", service, namespace=namespace):
        yield url
        return
    with Forward(namespace, service, parts.port or 0) as forward:
        credentials = parts.netloc.rpartition("@")
        yield urlunsplit(parts._replace(netloc=f"{credentials[0]}{credentials[1]}127.0.0.1:{forward.port}"))
