"""All functions in one process: the gateway in front, their own addresses behind, events by the local dispatcher."""

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from functions.common.app import create_app
from functions.common.backends import Backends
from functions.common.blobs.directory import DirectoryBlobs
from functions.common.config import NEEDS, load
from functions.recover.overdue import Overdue
from local.delivery.clock import Clock
from local.delivery.memory import MemoryBroker
from local.delivery.triggers import Destination, load_ping, load_triggers
from local.server.gateway import Gateway, InFlight, Internal, WSGIApp
from local.server.listener import Listener
from local.server.owner import PATH as SIGN_IN
from local.server.owner import SignIn
from local.server.page import create_page
from local.server.rates import Rates
from local.server.state import WORK, blobs_url, database_url

_EVENTING: Final = Path(__file__).parents[2] / "eventing"
_HOST: Final = "127.0.0.1"
_STOP_SECONDS: Final = 4.0


class LocalServer:
    """Serves everything from one process; the caller holds the lock of the state directory.

    Args:
        settings: as functions.common.config reads them.
        directory: the state directory.
        port: where the gateway listens on 127.0.0.1; 0 for any free port.
        timeouts: whether deliveries keep the triggers' time limits.
        opened: gets the next `owner_address` whenever one was used.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        directory: Path,
        *,
        port: int,
        timeouts: bool = True,
        opened: Callable[[str], None] = lambda _address: None,
    ) -> None:
        self._directory = directory
        self._public, self._internal = Listener(_HOST, port), Listener(_HOST, 0)
        #: Where the gateway is.
        self.url = f"http://localhost:{self._public.port}"
        config = load({"PUBLIC_URL": self.url, **settings})
        self._broker = MemoryBroker(
            triggers=load_triggers(_EVENTING / "triggers"),
            address=self._address,
            # In the cluster a trigger's parallelism is what the platform has room for; here that is the slots.
            parallelism={"convert": config.convert_slots},
            timeouts=timeouts,
        )
        self.backends = Backends(config, publisher=self._broker)
        self._active = 0
        self._idle = threading.Condition()
        apps: dict[str, WSGIApp] = {name: create_app(name, self.backends) for name in NEEDS}
        rates = Rates(requests_per_minute=config.requests_per_minute, logins_per_minute=config.logins_per_minute)
        self._sign_in = SignIn(self.backends, lambda: opened(self.owner_address))
        own: dict[str, WSGIApp] = {SIGN_IN: self._sign_in}
        self._public.app = InFlight(Gateway(apps, create_page(), rates, own=own), self._count)
        self._internal.app = InFlight(Internal(apps), self._count)
        self._clock = Clock(ping=load_ping(_EVENTING / "ping.yaml"), address=self._address)

    @property
    def owner_address(self) -> str:
        """The address that opens the page as this machine's owner, once."""
        return f"{self.url}/#sign-in={self._sign_in.secret}"

    def __enter__(self) -> Self:
        """Put right what an earlier run left, then serve."""
        # The directory's lock is ours, so whatever lies in it is nobody else's: every lease is dead, and nobody has
        # to wait for its end. A database or a store elsewhere may have other users.
        config = self.backends.config
        shutil.rmtree(self._directory / WORK, ignore_errors=True)
        for unfinished in (*self._directory.glob("mail/.*.part"), *self._directory.glob("keys.*.new")):
            unfinished.unlink()
        if config.blobs_url == blobs_url(self._directory) and isinstance(self.backends.blobs, DirectoryBlobs):
            self.backends.blobs.sweep()
        if config.database_url == database_url(self._directory):
            Overdue(self.backends.database).forget_leases()
        for server in (self._public, self._internal):
            threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        self._broker.start()
        self._clock.tick()
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give running work back and end, within a few seconds whatever still runs."""
        ends = time.monotonic() + _STOP_SECONDS
        self.backends.draining.set()
        self.backends.halting.set()
        self._public.shutdown()
        self._public.server_close()
        self._clock.stop()
        self._broker.stop(1.0)
        with self._idle:
            self._idle.wait_for(lambda: self._active == 0, max(0.0, ends - time.monotonic()))
        self._internal.shutdown()
        self._internal.server_close()
        self.backends.close()

    def _address(self, destination: Destination) -> str:
        return f"http://{_HOST}:{self._internal.port}/{quote(destination.service)}{destination.path}"

    def _count(self, change: int) -> None:
        with self._idle:
            self._active += change
            self._idle.notify_all()
