"""The rules of RabbitMQ's dispatcher (knative-extensions/eventing-rabbitmq, pkg/dispatcher), free of any transport.

memory.py carries them; so can anything else that hands over one event at a time and acknowledges it when
`Delivery.run` returns.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from cloudevents.http import CloudEvent

from functions.common import events
from functions.common.errors import Unavailable
from local.delivery.triggers import BackoffPolicy, Destination, Trigger

#: Waits before a dead-letter sink is tried the second and third time; then the event is gone (issue #1385 there).
DEAD_LETTER_WAITS_SECONDS: Final = (1.0, 2.0)
#: Limit of one try at a dead-letter sink: above the 90 s that recover's own Service is given.
DEAD_LETTER_TIMEOUT_SECONDS: Final = 120.0
#: Stands for a status where no answer came.
NO_STATUS: Final = -1

_log = logging.getLogger("delivery")


class NoAnswer(Exception):
    """A request ended without an answer, or before it began."""


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Verdict(Enum):
    """What an answer means for the event."""

    #: The subscriber has it.
    DONE = auto()
    #: It is delivered again, and in the end dead-lettered.
    RETRY = auto()
    #: It counts as done although the subscriber refused it: no retry, no dead letter.
    LOST = auto()


class Outcome(Enum):
    """How a delivery ended."""

    #: The subscriber took the event, and the broker its reply.
    DONE = auto()
    #: The subscriber refused the event in a way that counts as done.
    LOST = auto()
    #: The dead-letter sink took it.
    DEAD_LETTERED = auto()
    #: Not even the dead-letter sink did.
    DROPPED = auto()
    #: The carrier is stopping; the event must not be acknowledged.
    STOPPED = auto()


class Post(Protocol):
    """Posts an event over HTTP, once."""

    def __call__(self, url: str, event: CloudEvent, timeout_seconds: float) -> Answer:
        """Return any answer at all, redirections included, which are not followed.

        Raises:
            NoAnswer: none came in time.
        """


class Stopping(Exception):
    """A wait was cut short because the carrier stops."""


def classify(status: int) -> Verdict:
    """Say what a status means (kncloudevents.SelectiveRetry, and getStatus of the dispatcher)."""
    if status >= 500 or status in (404, 408, 409, 429):
        return Verdict.RETRY
    return Verdict.DONE if 200 <= status < 300 else Verdict.LOST


def waits_seconds(policy: BackoffPolicy, delay_seconds: float, retry: int) -> tuple[float, ...]:
    """Compute the waits between the tries of one delivery.

    The first retry counts as 1, not 0: cloudevents/sdk-go v2, protocol/http/protocol_retry.go, calls
    `Backoff(ctx, retry+1)`, and context/retry.go computes `Period * tries` or `Period * 2^tries`.

    Args:
        policy: "linear" or "exponential".
        delay_seconds: the delay that is multiplied.
        retry: tries after the first.
    """
    tries = range(1, retry + 1)
    return tuple(delay_seconds * (n if policy == "linear" else 2**n) for n in tries)


def ask(send: Callable[[], Answer], waits: Sequence[float], *, wait: Callable[[float], bool]) -> Answer | None:
    """Send until an answer does not ask for another try, or the tries are used up.

    Args:
        send: sends once; raises NoAnswer.
        waits: seconds to wait before each further try.
        wait: waits so many seconds; returns True at once when stopping.

    Returns:
        The last answer, or None where the last try had none.

    Raises:
        Stopping: `wait` said so.
    """
    answer: Answer | None = None
    for seconds in (*waits, None):
        try:
            answer = send()
            said = str(answer.status)
        except NoAnswer as error:
            answer, said = None, str(error)
        if answer is not None and classify(answer.status) is not Verdict.RETRY:
            break
        if seconds is not None:
            _log.info("%s; trying again in %g s", said, seconds)
            if wait(seconds):
                raise Stopping
    return answer


class Delivery:
    """Delivers one event after another, each by the trigger's terms.

    Args:
        address: gives the URL of a destination.
        post: posts an event.
        publish: hands a reply to the broker; raises Unavailable.
        wait: waits so many seconds; returns True at once when stopping.
    """

    def __init__(
        self,
        *,
        address: Callable[[Destination], str],
        post: Post,
        publish: Callable[[CloudEvent], None],
        wait: Callable[[float], bool],
    ) -> None:
        self._address = address
        self._post = post
        self._publish = publish
        self._wait = wait

    def run(self, event: CloudEvent, trigger: Trigger) -> Outcome:
        """Deliver an event; when this returns, it may be acknowledged, unless the outcome is STOPPED."""
        try:
            return self._deliver(event, trigger)
        except Stopping:
            return Outcome.STOPPED

    def _deliver(self, event: CloudEvent, trigger: Trigger) -> Outcome:
        url = self._address(trigger.subscriber)
        waits = waits_seconds(trigger.backoff_policy, trigger.backoff_delay_seconds, trigger.retry)
        answer = ask(lambda: self._post(url, event, trigger.timeout_seconds), waits, wait=self._wait)
        status = answer.status if answer else NO_STATUS
        if answer is None or classify(status) is Verdict.RETRY:
            _log.warning("%s gave up on %s (%d)", trigger.name, event["id"], status)
            return self._dead_letter(event, trigger, url, status)
        if classify(status) is Verdict.LOST:
            _log.warning("%s refused %s (%d): it counts as delivered and is gone", trigger.name, event["id"], status)
            return Outcome.LOST
        if not self._reply(answer, trigger, waits):
            return self._dead_letter(event, trigger, url, status)
        return Outcome.DONE

    def _reply(self, answer: Answer, trigger: Trigger, waits: Sequence[float]) -> bool:
        """Hand the event in an answer to the broker, if there is one; say whether that is done."""
        if not _carries_event(answer.headers):
            return True
        try:
            reply = events.read(answer.headers, answer.body)
        except events.MalformedEvent as error:
            _log.warning("%s replied what is no event: %s", trigger.name, error)
            return False

        def publish() -> Answer:
            try:
                self._publish(reply)
            except Unavailable as error:
                raise NoAnswer(error.detail) from error
            return Answer(202, {}, b"")

        # The dispatcher sends replies by the same terms as it delivers (one context carries the retries of both).
        return ask(publish, waits, wait=self._wait) is not None

    def _dead_letter(self, event: CloudEvent, trigger: Trigger, url: str, status: int) -> Outcome:
        letter = dead_letter(event, url=url, status=status)
        sink = self._address(trigger.dead_letter_sink)
        answer = ask(
            lambda: self._post(sink, letter, DEAD_LETTER_TIMEOUT_SECONDS), DEAD_LETTER_WAITS_SECONDS, wait=self._wait
        )
        if answer is not None and classify(answer.status) is Verdict.DONE:
            return Outcome.DEAD_LETTERED
        _log.error("the dead-letter sink of %s did not take %s: the event is gone", trigger.name, event["id"])
        return Outcome.DROPPED


def dead_letter(event: CloudEvent, *, url: str, status: int) -> CloudEvent:
    """Copy an event as it goes to the dead-letter sink.

    Args:
        event: what could not be delivered.
        url: the subscriber that did not take it.
        status: of its last answer, or NO_STATUS.
    """
    extensions = {"knativeerrordest": url, "knativeerrorcode": str(status)}
    return CloudEvent({**event.get_attributes(), **extensions}, event.get_data())


def _carries_event(headers: Mapping[str, str]) -> bool:
    """Say whether an answer claims to be an event (CloudEvents HTTP binding 1.0.2, section 3)."""
    lower = {name.lower(): value for name, value in headers.items()}
    return "ce-specversion" in lower or lower.get("content-type", "").startswith("application/cloudevents+")
