"""How events are posted to functions, whatever carries them here."""

import requests
from cloudevents.http import CloudEvent

from functions.common import events
from local.delivery.rules import Answer, NoAnswer


class HttpPost:
    """Posts events over HTTP, for one thread; see rules.Post.

    Args:
        timeouts: whether to keep the limits that are given.
    """

    def __init__(self, *, timeouts: bool = True) -> None:
        self._timeouts = timeouts
        self._session = requests.Session()
        # Functions are neighbours: no proxy and no .netrc stands between.
        self._session.trust_env = False

    def __call__(self, url: str, event: CloudEvent, timeout_seconds: float) -> Answer:
        """See rules.Post."""
        headers, body = events.encode(event)
        limit = timeout_seconds if self._timeouts else None
        try:
            answer = self._session.post(url, data=body, headers=headers, timeout=limit, allow_redirects=False)
        except requests.RequestException as error:
            raise NoAnswer(type(error).__name__) from error
        return Answer(answer.status_code, answer.headers, answer.content)

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._session.close()
