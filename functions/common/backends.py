"""The composition root: what a process is connected to, each built when first asked for.

Heavy clients are imported here, inside the property that needs them, so that a function answers /healthz before any
of them is loaded; nothing is connected before the first request, since the server forks after import.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from functions.common.config import Config
from functions.common.errors import SettingError

if TYPE_CHECKING:
    from functions.common.blobs import Blobs
    from functions.common.database import Database
    from functions.common.jobs import Jobs
    from functions.common.links import Links
    from functions.common.mails import Mails
    from functions.common.publisher import Publisher
    from functions.common.quotas import Quotas
    from functions.common.tokens import Verifier
    from functions.common.waking import Waker

T = TypeVar("T")


class Backends:
    """Everything that a function may need, by its settings.

    Args:
        config: the settings.
        publisher: where events go, in the one-process run; else `BROKER_URL` decides.
    """

    def __init__(self, config: Config, *, publisher: "Publisher | None" = None) -> None:
        self.config = config
        #: Set when the process begins to stop: streams end at once, requests run to their end.
        self.draining = threading.Event()
        #: Set when work must be given back at once.
        self.halting = threading.Event()
        self._given_publisher = publisher
        self._made: dict[str, object] = {}
        self._lock = threading.RLock()

    @property
    def database(self) -> "Database":
        """The SQL database."""
        from functions.common.database import Database

        return self._once("database", lambda: Database(self.config.database_url))

    @property
    def jobs(self) -> "Jobs":
        """The jobs in it."""
        from functions.common.jobs import Jobs

        return self._once(
            "jobs",
            lambda: Jobs(self.database, result_days=self.config.result_days, source_days=self.config.source_days),
        )

    @property
    def quotas(self) -> "Quotas":
        """What each account may still do."""
        from functions.common.quotas import Quotas

        return self._once(
            "quotas",
            lambda: Quotas(
                self.database,
                jobs_per_hour=self.config.max_jobs_per_hour,
                queued_jobs=self.config.max_queued_jobs,
                stored_bytes=self.config.max_stored_bytes,
            ),
        )

    @property
    def mails(self) -> "Mails":
        """The mails that are owed or sent."""
        from functions.common.mails import Mails

        return self._once("mails", lambda: Mails(self.database))

    @property
    def blobs(self) -> "Blobs":
        """Sources and results."""
        from functions.common.blobs import from_url

        return self._once("blobs", lambda: from_url(self.config.blobs_url, aws=self.config.aws))

    @property
    def publisher(self) -> "Publisher":
        """Where events go."""
        if self._given_publisher is not None:
            return self._given_publisher
        if self.config.broker_url.startswith("memory:"):
            raise SettingError("BROKER_URL=memory: works only where all functions run in one process")
        if self.config.broker_url.startswith(("amqp:", "amqps:")):
            from functions.common.amqp import AmqpPublisher

            return self._once("publisher", lambda: AmqpPublisher(self.config.broker_url))
        from functions.common.publisher import HttpPublisher

        return self._once("publisher", lambda: HttpPublisher(self.config.broker_url))

    @property
    def verifier(self) -> "Verifier":
        """Checks access tokens."""
        from functions.common.tokens import Verifier

        return self._once("verifier", lambda: Verifier(self.config.token_jwks))

    @property
    def links(self) -> "Links":
        """Signs and checks download links."""
        from functions.common.links import Links

        return self._once("links", lambda: Links(self.config.link_key))

    @property
    def waker(self) -> "Waker":
        """Wakes the next step."""
        from functions.common.waking import Waker

        return self._once("waker", lambda: Waker(self.config.wake_url))

    def close(self) -> None:
        """Close what was opened."""
        with self._lock:
            if "database" in self._made:
                self.database.close()
            if "blobs" in self._made:
                self.blobs.close()
            if "publisher" in self._made:
                self.publisher.close()

    def _once(self, name: str, make: Callable[[], T]) -> T:
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            return cast(T, self._made[name])
