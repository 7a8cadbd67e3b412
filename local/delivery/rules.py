"""The rules of RabbitMQ's dispatcher (knative-extensions/eventing-rabbitmq, pkg/dispatcher), free of any transport.

memory.py and amqp.py carry them: they hand over one event at a time and acknowledge it when a method of `Delivery`
returns. Two things are better here than there, where they lose events: what a subscriber refuses is dead-lettered too,
and a dead letter is kept until its sink takes it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain, repeat
from typing import Final, Protocol

from cloudevents.http import CloudEvent

from functions.common import events
from functions.common.errors import Unavailable
from local.delivery.triggers import BackoffPolicy, Destination, Source, Trigger

#: Waits before a dead letter is tried again, the last of them for ever.
DEAD_LETTER_WAITS_SECONDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
#: Dead letters of one trigger in delivery at once.
DEAD_LETTER_PARALLELISM: Final = 4
#: Limit of one try of a source: above the 590 s that a Service may take.
SOURCE_TIMEOUT_SECONDS: Final = 600.0
#: Stands in a log line that must not be there: on Knative the event would be gone.
LOST_ON_KNATIVE: Final = "on Knative it would be lost"
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
    #: It is dead-lettered at once. Knative's dispatcher takes this for success.
    REFUSED = auto()


class Outcome(Enum):
    """How a delivery ended."""

    #: The subscriber took the event, and the broker its reply.
    DONE = auto()
    #: It is among the dead letters now.
    DEAD_LETTERED = auto()
    #: It cannot get better.
    REFUSED = auto()
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
    return Verdict.DONE if 200 <= status < 300 else Verdict.REFUSED


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
        bury: puts a dead letter where `run_dead_letter` will get it from; raises Unavailable.
        wait: waits so many seconds; returns True at once when stopping.
    """

    def __init__(
        self,
        *,
        address: Callable[[Destination], str],
        post: Post,
        publish: Callable[[CloudEvent], None],
        bury: Callable[[CloudEvent, Trigger], None],
        wait: Callable[[float], bool],
    ) -> None:
        self._address = address
        self._post = post
        self._publish = publish
        self._bury = bury
        self._wait = wait

    def run(self, event: CloudEvent, trigger: Trigger) -> Outcome:
        """Deliver an event; when this returns, it may be acknowledged, unless the outcome is STOPPED."""
        try:
            failed = self._deliver(event, trigger)
            if failed is None:
                return Outcome.DONE
            self._insist(lambda: self._bury(failed, trigger), f"a dead letter of {trigger.name}")
        except Stopping:
            return Outcome.STOPPED
        return Outcome.DEAD_LETTERED

    def run_dead_letter(self, letter: CloudEvent, trigger: Trigger) -> Outcome:
        """Deliver a dead letter, however long it takes; as `run`."""

        def deliver() -> None:
            answer = self._post(self._address(trigger.dead_letter_sink), letter, trigger.timeout_seconds)
            if classify(answer.status) is not Verdict.DONE:
                raise NoAnswer(f"the dead-letter sink answered {answer.status}")

        try:
            self._insist(deliver, f"the dead-letter sink of {trigger.name}")
        except Stopping:
            return Outcome.STOPPED
        return Outcome.DONE

    def run_source(self, event: CloudEvent, source: Source) -> Outcome:
        """Deliver what came from a queue of somebody else's, however long it takes; a reply is not read.

        Such a queue may have no dead-letter exchange, and may drop what is put back too often.
        """
        waits = waits_seconds(source.backoff_policy, source.backoff_delay_seconds, source.retry)
        outcome = Outcome.DONE

        def deliver() -> None:
            nonlocal outcome
            url = self._address(source.destination)
            answer = ask(lambda: self._post(url, event, SOURCE_TIMEOUT_SECONDS), waits, wait=self._wait)
            if answer is None or classify(answer.status) is Verdict.RETRY:
                raise NoAnswer(f"no try of {event['id']} was taken")
            if classify(answer.status) is Verdict.REFUSED:
                _log.error("%s was refused %s (%d): %s", source.name, event["id"], answer.status, LOST_ON_KNATIVE)
                outcome = Outcome.REFUSED

        try:
            self._insist(deliver, source.name)
        except Stopping:
            return Outcome.STOPPED
        return outcome

    def _deliver(self, event: CloudEvent, trigger: Trigger) -> CloudEvent | None:
        """Deliver an event; the dead letter that it became, if it could not be."""
        status, url = NO_STATUS, ""
        try:
            url = self._address(trigger.subscriber)
            waits = waits_seconds(trigger.backoff_policy, trigger.backoff_delay_seconds, trigger.retry)
            answer = ask(lambda: self._post(url, event, trigger.timeout_seconds), waits, wait=self._wait)
            status = answer.status if answer else NO_STATUS
            if answer is not None and classify(status) is Verdict.DONE and self._reply(answer, trigger, waits):
                return None
            if answer is not None and classify(status) is Verdict.REFUSED:
                _log.error("%s refused %s (%d): %s", trigger.name, event["id"], status, LOST_ON_KNATIVE)
            else:
                _log.warning("%s gave up on %s (%d)", trigger.name, event["id"], status)
        except Stopping:
            raise
        except Exception:  # noqa: BLE001 - whatever a mistake of our own is, one event must not end all that follow
            _log.exception("delivering %s failed", event["id"])
        return dead_letter(event, url=url, status=status)

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

    def _insist(self, do: Callable[[], None], words: str) -> None:
        for seconds in chain(DEAD_LETTER_WAITS_SECONDS, repeat(DEAD_LETTER_WAITS_SECONDS[-1])):
            try:
                do()
                return
            except Stopping:
                raise
            except Exception as error:  # noqa: BLE001 - as above, and giving up would lose the event
                _log.error("%s: %s; trying again in %g s", words, error or type(error).__name__, seconds)
            if self._wait(seconds):
                raise Stopping


def dead_letter(event: CloudEvent, *, url: str, status: int) -> CloudEvent:
    """Copy an event as it goes to the dead-letter sink.

    Args:
        event: what could not be delivered.
        url: the subscriber that did not take it.
        status: of its last answer, or NO_STATUS.
    """
    extensions = {"knativeerrordest": url, "knativeerrorcode": str(status)}
    return CloudEvent({**event.get_attributes(), **extensions}, event.get_data())


#: A method of Delivery that delivers an event.
Run = Callable[[Delivery, CloudEvent, Trigger], Outcome]


def limit(trigger: Trigger, caps: Mapping[str, int]) -> int:
    """How many of a trigger's events may be in delivery at once, given caps by service."""
    return min(trigger.parallelism, caps.get(trigger.subscriber.service, trigger.parallelism))


def _carries_event(headers: Mapping[str, str]) -> bool:
    """Say whether an answer claims to be an event (CloudEvents HTTP binding 1.0.2, section 3)."""
    lower = {name.lower(): value for name, value in headers.items()}
    return "ce-specversion" in lower or lower.get("content-type", "").startswith("application/cloudevents+")
