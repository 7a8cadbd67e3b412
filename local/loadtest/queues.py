"""What RabbitMQ holds, by its management API."""

import time
from typing import Final
from urllib.parse import quote

import requests

_TIMEOUT_SECONDS: Final = 5.0
#: RabbitMQ counts anew every five seconds, and an event that came too early is tried again half a minute later.
_SETTLE_SECONDS: Final = 120.0


class Queues:
    """The queues of one virtual host.

    Args:
        management_url: the API's origin, with user and password in it.
        vhost: the virtual host's name.
    """

    def __init__(self, management_url: str, vhost: str) -> None:
        self._url = f"{management_url.rstrip('/')}/api/queues/{quote(vhost, safe='')}"
        self._session = requests.Session()

    def depths(self) -> dict[str, int]:
        """Messages of each queue, those in delivery included; as old as RabbitMQ's last count, five seconds at most.

        Raises:
            requests.RequestException: the API does not answer.
        """
        answer = self._session.get(self._url, params={"columns": "name,messages"}, timeout=_TIMEOUT_SECONDS)
        answer.raise_for_status()
        return {queue["name"]: int(queue.get("messages", 0)) for queue in answer.json()}

    def settled(self) -> dict[str, int]:
        """The same, once nothing is left, or nothing more is going to change.

        Raises:
            requests.RequestException: the API does not answer.
        """
        ends = time.monotonic() + _SETTLE_SECONDS
        while True:
            found = self.depths()
            if not any(found.values()) or time.monotonic() > ends:
                return found
            time.sleep(0.5)
