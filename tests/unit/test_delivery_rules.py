"""The dispatcher's rules, without any transport and without waiting."""

import logging
from collections.abc import Callable, Sequence

import pytest
from cloudevents.http import CloudEvent

from functions.common import events
from functions.common.errors import Unavailable
from local.delivery.rules import (
    LOST_ON_KNATIVE,
    Answer,
    Delivery,
    NoAnswer,
    Outcome,
    Verdict,
    ask,
    classify,
    dead_letter,
    waits_seconds,
)
from local.delivery.triggers import BackoffPolicy, Destination, Trigger

JOB = "01890a5d-ac96-774b-bcce-b302099a8057"
UPLOADED = events.make(events.UPLOADED, job_id=JOB, run=1)
REPLY = events.make(events.SUCCEEDED, job_id=JOB, run=1)
TRIGGER = Trigger(
    name="convert",
    event_type=events.UPLOADED,
    subscriber=Destination("convert", "/"),
    parallelism=10,
    retry=2,
    backoff_policy="exponential",
    backoff_delay_seconds=2.0,
    timeout_seconds=600.0,
    dead_letter_sink=Destination("recover", "/dead-letters"),
)
SUBSCRIBER = "http://convert/"
SINK = "http://recover/dead-letters"
OK = Answer(204, {}, b"")


def answer_with(event: CloudEvent, status: int = 200) -> Answer:
    """An answer that carries an event."""
    headers, body = events.encode(event)
    return Answer(status, headers, body)


def answers(*statuses: int) -> list[Answer]:
    """Answers without a body."""
    return [Answer(status, {}, b"") for status in statuses]


class Carrier:
    """Plays the functions, the broker and the clock, and writes down what the rules ask of them."""

    def __init__(
        self,
        subscriber: Sequence[Answer | NoAnswer] = (),
        *,
        sink: Sequence[Answer | NoAnswer] = (OK,),
        broker: Sequence[Unavailable | None] = (None,),
        grave: Sequence[Unavailable | None] = (None,),
        stops_at: float | None = None,
    ) -> None:
        self._script = {SUBSCRIBER: list(subscriber), SINK: list(sink)}
        self._broker = list(broker)
        self._grave = list(grave)
        self._stops_at = stops_at
        self.posted: list[tuple[str, CloudEvent, float]] = []
        self.published: list[CloudEvent] = []
        self.letters: list[CloudEvent] = []
        self.waits: list[float] = []

    def post(self, url: str, event: CloudEvent, timeout_seconds: float) -> Answer:
        """Answer as the script has it."""
        self.posted.append((url, event, timeout_seconds))
        answer = self._script[url].pop(0)
        if isinstance(answer, NoAnswer):
            raise answer
        return answer

    def publish(self, event: CloudEvent) -> None:
        """Take a reply, or fail as the script has it."""
        error = self._broker.pop(0)
        if error:
            raise error
        self.published.append(event)

    def bury(self, letter: CloudEvent, trigger: Trigger) -> None:
        """Take a dead letter, or fail as the script has it."""
        assert trigger is TRIGGER
        error = self._grave.pop(0)
        if error:
            raise error
        self.letters.append(letter)

    def wait(self, seconds: float) -> bool:
        """Take no time."""
        self.waits.append(seconds)
        return seconds == self._stops_at

    def delivery(self) -> Delivery:
        """The rules on this carrier."""
        return Delivery(
            address=lambda destination: f"http://{destination.service}{destination.path}",
            post=self.post,
            publish=self.publish,
            bury=self.bury,
            wait=self.wait,
        )

    def run(self) -> Outcome:
        """Deliver one event."""
        return self.delivery().run(UPLOADED, TRIGGER)


@pytest.mark.parametrize(
    ("verdict", "statuses"),
    [
        (Verdict.DONE, (200, 201, 202, 204, 299)),
        (Verdict.RETRY, (404, 408, 409, 429, 500, 501, 502, 503, 504, 507, 599)),
        (Verdict.REFUSED, (301, 302, 304, 307, 400, 401, 403, 405, 410, 412, 413, 415, 422, 425, 428, 451)),
    ],
)
def test_classes_of_answers(verdict: Verdict, statuses: tuple[int, ...]) -> None:
    """Each status means what it means to the real dispatcher."""
    assert {status: classify(status) for status in statuses} == dict.fromkeys(statuses, verdict)


@pytest.mark.parametrize(
    ("policy", "delay_seconds", "retry", "expected"),
    [
        ("exponential", 2.0, 5, (4, 8, 16, 32, 64)),
        ("linear", 2.0, 5, (2, 4, 6, 8, 10)),
        # Seen on a cluster: two failing events with these terms held their slots for 56 s.
        ("exponential", 4.0, 3, (8, 16, 32)),
        ("exponential", 2.0, 0, ()),
    ],
)
def test_waits(policy: BackoffPolicy, delay_seconds: float, retry: int, expected: tuple[float, ...]) -> None:
    """The first retry counts as 1, so the waits double from twice the delay, or grow by the delay."""
    assert waits_seconds(policy, delay_seconds, retry) == expected


def test_five_retries_from_two_seconds_take_124_seconds() -> None:
    """What the triggers ask for outlasts four leases of 30 s, and not by the 126 s of six waits."""
    assert sum(waits_seconds("exponential", 2.0, 5)) == 124


@pytest.mark.parametrize("status", [200, 202, 204])
def test_taken(status: int) -> None:
    """A 2xx without an event ends the delivery at the first try."""
    carrier = Carrier(answers(status))
    assert carrier.run() is Outcome.DONE
    assert carrier.posted == [(SUBSCRIBER, UPLOADED, 600.0)]
    assert carrier.published == carrier.waits == []


@pytest.mark.parametrize("status", [301, 400, 401, 403, 410, 413, 415, 422, 425])
def test_refused_for_good_is_dead_lettered(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Where Knative would count it as done, it is dead-lettered without a retry, and its reply is not read."""
    carrier = Carrier([answer_with(REPLY, status)])
    assert carrier.run() is Outcome.DEAD_LETTERED
    assert [url for url, *_ in carrier.posted] == [SUBSCRIBER]
    assert carrier.published == carrier.waits == []
    assert [letter["knativeerrorcode"] for letter in carrier.letters] == [str(status)]
    assert (caplog.records[-1].levelno, LOST_ON_KNATIVE in caplog.text) == (logging.ERROR, True)
    caplog.clear()


def test_tried_again_until_it_works() -> None:
    """A busy subscriber, and one that is not there, get the same event again after the waits."""
    carrier = Carrier([*answers(503), NoAnswer("refused"), OK])
    assert carrier.run() is Outcome.DONE
    assert carrier.posted == [(SUBSCRIBER, UPLOADED, 600.0)] * 3
    assert carrier.waits == [4, 8]


@pytest.mark.parametrize(
    ("last", "code"), [(Answer(409, {}, b""), "409"), (Answer(503, {}, b""), "503"), (NoAnswer("timeout"), "-1")]
)
def test_dead_lettered(last: Answer | NoAnswer, code: str) -> None:
    """When the tries are used up the event goes to the sink, whole, with the subscriber and its last answer."""
    carrier = Carrier([*answers(500, 500), last])
    assert carrier.run() is Outcome.DEAD_LETTERED
    assert [url for url, *_ in carrier.posted] == [SUBSCRIBER] * 3
    assert carrier.waits == [4, 8]
    [letter] = carrier.letters
    extensions = {"knativeerrordest": SUBSCRIBER, "knativeerrorcode": code}
    assert letter.get_attributes() == {**UPLOADED.get_attributes(), **extensions}
    assert letter.get_data() == UPLOADED.get_data()
    assert "knativeerrorcode" not in UPLOADED.get_attributes()


def test_a_dead_letter_is_delivered_however_long_it_takes() -> None:
    """A sink that is away, is busy or refuses is tried again, after a minute at most; nothing is ever dropped."""
    carrier = Carrier(sink=[NoAnswer("refused"), *answers(503, 400, 500, 302, 503, 404, 503, 503), OK])
    letter = dead_letter(UPLOADED, url=SUBSCRIBER, status=503)
    assert carrier.delivery().run_dead_letter(letter, TRIGGER) is Outcome.DONE
    assert carrier.posted == [(SINK, letter, TRIGGER.timeout_seconds)] * 10
    assert carrier.waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_dead_letter_that_cannot_be_put_away() -> None:
    """The event is held until the broker takes its dead letter."""
    carrier = Carrier(answers(500, 500, 500), grave=[Unavailable(), Unavailable(), None])
    assert carrier.run() is Outcome.DEAD_LETTERED
    assert (len(carrier.letters), carrier.waits) == (1, [4, 8, 1, 2])


def test_a_mistake_of_our_own() -> None:
    """What nobody foresaw has the event dead-lettered."""
    carrier = Carrier([])
    assert carrier.run() is Outcome.DEAD_LETTERED
    assert [letter["knativeerrorcode"] for letter in carrier.letters] == ["-1"]


def test_reply_in_binary_mode() -> None:
    """An event in a 2xx is handed to the broker."""
    carrier = Carrier([answer_with(REPLY)])
    assert carrier.run() is Outcome.DONE
    assert [(event["id"], event["type"], event.get_data()) for event in carrier.published] == [
        (REPLY["id"], events.SUCCEEDED, {"job_id": JOB, "run": 1})
    ]


def test_reply_in_structured_mode() -> None:
    """A reply in structured mode is an event too."""
    body = b'{"specversion": "1.0", "id": "1", "source": "/convert", "type": "t", "data": {}}'
    carrier = Carrier([Answer(200, {"Content-Type": "application/cloudevents+json; charset=utf-8"}, body)])
    assert carrier.run() is Outcome.DONE
    assert [event["type"] for event in carrier.published] == ["t"]


def test_reply_waits_for_the_broker() -> None:
    """A broker that is away is tried again by the trigger's terms, without asking the subscriber again."""
    carrier = Carrier([answer_with(REPLY)], broker=[Unavailable(), None])
    assert carrier.run() is Outcome.DONE
    assert (len(carrier.posted), len(carrier.published), carrier.waits) == (1, 1, [4])


def test_reply_that_the_broker_never_takes() -> None:
    """Then the original is dead-lettered, with the status of the subscriber that had done its work."""
    carrier = Carrier([answer_with(REPLY, 202)], broker=[Unavailable()] * 3)
    assert carrier.run() is Outcome.DEAD_LETTERED
    assert [(event["id"], event["knativeerrorcode"]) for event in carrier.letters] == [(UPLOADED["id"], "202")]


def test_reply_that_is_no_event() -> None:
    """An answer that says it is an event and is none has the original dead-lettered."""
    carrier = Carrier([Answer(200, {"CE-SpecVersion": "1.0"}, b"")])
    assert carrier.run() is Outcome.DEAD_LETTERED


def test_other_bodies_are_no_replies() -> None:
    """A 2xx with a page or plain JSON is simply done, even if the JSON looks like an event."""
    body = b'{"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}'
    for content_type in ("application/json", "text/html", ""):
        carrier = Carrier([Answer(200, {"Content-Type": content_type}, body)])
        assert carrier.run() is Outcome.DONE
        assert carrier.published == []


@pytest.mark.parametrize(
    ("make", "stops_at"),
    [
        (lambda: {"subscriber": answers(503)}, 4),
        (lambda: {"subscriber": [answer_with(REPLY)], "broker": [Unavailable()]}, 4),
        (lambda: {"subscriber": answers(503, 503, 503), "grave": [Unavailable()]}, 1),
    ],
    ids=["subscriber", "broker", "dead letter"],
)
def test_stopping_ends_any_wait(make: Callable[[], dict[str, object]], stops_at: float) -> None:
    """A carrier that stops cuts every wait short, and the event stays unacknowledged."""
    carrier = Carrier(**make(), stops_at=stops_at)  # type: ignore[arg-type]
    assert carrier.run() is Outcome.STOPPED
    assert carrier.waits[-1] == stops_at


def test_ask_returns_the_last_answer() -> None:
    """What the last try brought is returned, and none where it brought none."""
    script: list[Answer | NoAnswer] = [NoAnswer("refused"), *answers(503), *answers(503), NoAnswer("refused")]

    def send() -> Answer:
        answer = script.pop(0)
        if isinstance(answer, NoAnswer):
            raise answer
        return answer

    assert ask(send, (0.0,), wait=lambda _: False) == Answer(503, {}, b"")
    assert ask(send, (0.0,), wait=lambda _: False) is None


def test_stopping_ends_the_wait_for_a_sink() -> None:
    """A dead letter whose sink is away stays where it is when the carrier stops."""
    carrier = Carrier(sink=answers(503, 503), stops_at=2)
    assert carrier.delivery().run_dead_letter(UPLOADED, TRIGGER) is Outcome.STOPPED
