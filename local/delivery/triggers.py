"""The wiring of the program, read from the same manifests that a cluster applies: triggers and the ping.

What RabbitMQ's dispatcher would accept without a word, and then lose events by, is refused here with the reason.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, cast

import yaml
from cronsim import CronSim, CronSimError

BackoffPolicy = Literal["linear", "exponential"]

_PARALLELISM: Final = "rabbitmq.eventing.knative.dev/parallelism"
#: ISO 8601, section 5.5.2.2: the part of it that delivery specs use.
_DURATION: Final = re.compile(r"PT(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?\Z")


class ManifestError(ValueError):
    """A manifest is wrong; the message names the file and the field."""


@dataclass(frozen=True)
class Destination:
    """Where events are posted to."""

    #: Name of the Knative Service, which is the function's.
    service: str
    #: Path there.
    path: str


@dataclass(frozen=True)
class Trigger:
    """What is delivered to whom, and what is done when that fails."""

    name: str
    #: The one CloudEvents type that it takes.
    event_type: str
    subscriber: Destination
    #: Events in delivery at once; one that waits to be tried again counts.
    parallelism: int
    #: Tries after the first.
    retry: int
    backoff_policy: BackoffPolicy
    backoff_delay_seconds: float
    #: Limit of one try.
    timeout_seconds: float
    #: Who gets an event that could not be delivered.
    dead_letter_sink: Destination


@dataclass(frozen=True)
class Broker:
    """What events are published to."""

    name: str
    namespace: str


@dataclass(frozen=True)
class Ping:
    """An event that is posted again and again."""

    name: str
    #: Five cron fields, in UTC.
    schedule: str
    data: str
    content_type: str
    destination: Destination


@dataclass(frozen=True)
class Source:
    """A queue of a RabbitMQ whose messages are posted as events."""

    name: str
    #: The queue, which its owner declares.
    queue: str
    #: Messages in delivery at once; one that waits to be tried again counts.
    parallelism: int
    #: Tries after the first; a message that all of them fail for is rejected and not put back.
    retry: int
    backoff_policy: BackoffPolicy
    backoff_delay_seconds: float
    destination: Destination


def load_triggers(directory: Path) -> tuple[Trigger, ...]:
    """Read all triggers of a directory, in the order of their file names.

    Raises:
        ManifestError: one is wrong, or there is none.
    """
    triggers = tuple(map(load_trigger, sorted(directory.glob("*.yaml"))))
    if not triggers:
        raise ManifestError(f"{directory}: holds no *.yaml, so every event would be dropped")
    return triggers


def load_trigger(path: Path) -> Trigger:
    """Read one trigger.

    Raises:
        ManifestError: it is wrong.
    """
    return _trigger(_Node.load(path, kind="Trigger"))


def load_broker(path: Path) -> Broker:
    """Read a Broker; without a namespace it is in `default`, as kubectl has it.

    Raises:
        ManifestError: it is wrong.
    """
    root = _Node.load(path, kind="Broker")
    namespace = root["metadata", "namespace"]
    return Broker(root["metadata", "name"].text(), "default" if namespace.value is None else namespace.text())


def load_ping(path: Path) -> Ping:
    """Read a PingSource.

    Raises:
        ManifestError: it is wrong.
    """
    source = _Node.load(path, kind="PingSource")
    schedule = source["spec", "schedule"]
    try:
        CronSim(schedule.text(), datetime.now(UTC))
    except CronSimError as error:
        schedule.refuse(str(error))
    data, content_type = source["spec", "data"], source["spec", "contentType"].text()
    if content_type == "application/json" and not _is_json(data.text()):
        data.refuse("is no JSON")
    return Ping(
        name=source["metadata", "name"].text(),
        schedule=schedule.text(),
        data=data.text(),
        content_type=content_type,
        destination=source["spec", "sink"].destination(),
    )


def load_source(path: Path) -> Source:
    """Read a RabbitmqSource whose queue is declared by somebody else.

    Raises:
        ManifestError: it is wrong.
    """
    root = _Node.load(path, kind="RabbitmqSource")
    queue, delivery = root["spec", "rabbitmqResourcesConfig"], root["spec", "delivery"]
    if queue["predeclared"].value is not True:
        queue["predeclared"].refuse("must be true: the source would declare the queue its own way, and fail")
    return Source(
        name=root["metadata", "name"].text(),
        queue=queue["queueName"].text(),
        parallelism=queue["parallelism"].whole(least=1, most=1000),
        retry=delivery["retry"].whole(least=0, most=100),
        backoff_policy=delivery["backoffPolicy"].policy(),
        backoff_delay_seconds=delivery["backoffDelay"].seconds(),
        destination=root["spec", "sink"].destination(),
    )


@dataclass(frozen=True)
class _Node:
    """A value in a manifest, with the way to it."""

    file: Path
    field: tuple[str, ...]
    value: Any

    @classmethod
    def load(cls, file: Path, *, kind: str) -> "_Node":
        try:
            root = cls(file, (), yaml.safe_load(file.read_text(encoding="utf-8")))
        except yaml.YAMLError as error:
            raise ManifestError(f"{file}: {error}") from error
        if root["kind"].text() != kind:
            root["kind"].refuse(f"{kind} is expected here")
        return root

    def __getitem__(self, field: str | tuple[str, ...]) -> "_Node":
        node = self
        for name in (field,) if isinstance(field, str) else field:
            value = node.value.get(name) if isinstance(node.value, dict) else None
            node = _Node(self.file, (*node.field, name), value)
        return node

    def refuse(self, reason: str) -> NoReturn:
        raise ManifestError(f"{self.file}: {'.'.join(self.field)}: {reason}")

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            self.refuse("is missing" if self.value is None else f"must be a text, not {self.value!r}")
        return self.value

    def whole(self, *, least: int, most: int) -> int:
        if type(self.value) is not int or not least <= self.value <= most:
            self.refuse(f"must be a whole number from {least} to {most}, not {self.value!r}")
        return self.value

    def seconds(self) -> float:
        match = _DURATION.match(self.text())
        hours, minutes, seconds = (float(number or 0) for number in match.groups()) if match else (0.0, 0.0, 0.0)
        total = hours * 3600 + minutes * 60 + seconds
        if not total:
            self.refuse(f"must be an ISO 8601 duration such as PT2S, not {self.value!r}")
        return total

    def policy(self) -> BackoffPolicy:
        if self.text() not in ("linear", "exponential"):
            self.refuse(f"must be linear or exponential, not {self.value!r}")
        return cast(BackoffPolicy, self.value)

    def destination(self) -> Destination:
        if self["ref", "kind"].text() != "Service" or not self["ref", "apiVersion"].text().startswith("serving."):
            self["ref"].refuse("must name a Knative Service")
        uri = self["uri"]
        if uri.value is not None and not uri.text().startswith("/"):
            uri.refuse(f"must be a path, not {uri.value!r}")
        return Destination(service=self["ref", "name"].text(), path=uri.value or "/")


def _trigger(root: _Node) -> Trigger:
    spec, delivery = root["spec"], root["spec", "delivery"]
    if delivery["deadLetterSink"].value is None:
        delivery["deadLetterSink"].refuse(
            "is missing: what can't be delivered would be dropped, whatever the broker has"
        )
    if delivery["timeout"].value is None:
        delivery["timeout"].refuse("is missing: a subscriber that hangs would hold its slot for ever")
    return Trigger(
        name=root["metadata", "name"].text(),
        event_type=_event_type(spec),
        subscriber=spec["subscriber"].destination(),
        parallelism=_parallelism(root["metadata", "annotations", _PARALLELISM]),
        retry=delivery["retry"].whole(least=0, most=100),
        backoff_policy=delivery["backoffPolicy"].policy(),
        backoff_delay_seconds=delivery["backoffDelay"].seconds(),
        timeout_seconds=delivery["timeout"].seconds(),
        dead_letter_sink=delivery["deadLetterSink"].destination(),
    )


def _event_type(spec: _Node) -> str:
    if spec["filters"].value is not None:
        spec["filters"].refuse("is ignored by the RabbitMQ broker, so the trigger would get every event")
    attributes = spec["filter", "attributes"]
    event_type = attributes["type"].text()
    if set(attributes.value) != {"type"}:
        attributes.refuse("only `type` is understood here")
    return event_type


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _parallelism(annotation: _Node) -> int:
    if annotation.value is None:
        annotation.refuse("is missing: events would be delivered one by one, and nothing would scale out")
    if not re.fullmatch(r"[1-9]\d{0,3}", annotation.text()) or int(annotation.text()) > 1000:
        annotation.refuse(f"must be from 1 to 1000, not {annotation.value!r}")
    return int(annotation.text())
