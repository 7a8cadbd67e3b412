"""Handing events to the broker."""

from typing import Final, Protocol

import requests
from cloudevents.http import CloudEvent

from functions.common import events
from functions.common.errors import Unavailable

_TIMEOUT_SECONDS: Final = 10


class Publisher(Protocol):
    """Where events go. May be called from several threads."""

    def publish(self, event: CloudEvent) -> None:
        """Hand an event over; on return the broker has it.

        Raises:
            Unavailable: it may not have arrived.
        """

    def close(self) -> None:
        """Let go of connections."""


class HttpPublisher:
    """Posts events to a broker's ingress, which answers after RabbitMQ's publisher confirm.

    Args:
        url: address of the ingress, as a SinkBinding injects it.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def publish(self, event: CloudEvent) -> None:
        """See Publisher.publish."""
        headers, body = events.encode(event)
        try:
            # A connection of its own: one that was kept may be dead, and an event is not sent twice on suspicion.
            with requests.Session() as session:
                # The broker is a neighbour: no proxy and no .netrc stands between.
                session.trust_env = False
                answer = session.post(
                    self._url, data=body, headers=headers, timeout=_TIMEOUT_SECONDS, allow_redirects=False
                )
        except requests.RequestException as error:
            raise Unavailable("The event could not be handed to the broker.") from error
        if not 200 <= answer.status_code < 300:
            raise Unavailable(f"The broker answered {answer.status_code} to an event.")

    def close(self) -> None:
        """See Publisher.close; none are kept."""
