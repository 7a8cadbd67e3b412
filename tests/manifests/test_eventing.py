"""The numbers and names in `eventing/` and the path map that must agree with others."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from functions.common import events
from functions.common.amqp import EXCHANGE
from functions.common.job import SILENT_SECONDS
from local.delivery.clock import TIMEOUT_SECONDS
from local.delivery.rules import waits_seconds
from local.delivery.topology import Topology
from local.delivery.triggers import (
    Destination,
    Trigger,
    load_broker,
    load_ping,
    load_source,
    load_trigger,
    load_triggers,
)

ROOT = Path(__file__).parents[2]
TRIGGERS = load_triggers(ROOT / "eventing" / "triggers")
PATHS_MAP = ROOT / "knative" / "gateway" / "paths.map"
#: Every dispatcher takes so many events at once, whatever its parallelism.
PREFETCH = 100
#: RabbitMQ's consumer_timeout as this project sets it: 7 days.
CONSUMER_TIMEOUT_SECONDS = 7 * 86_400
LEASE_SECONDS = 30
#: timeoutSeconds of the Services, which must end first.
SERVICE_SECONDS = {"bridge": 590, "convert": 590, "notify": 45, "recover": 90}

each_trigger = pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: trigger.name)


def waits(trigger: Trigger) -> float:
    """The seconds that all waits between the tries of a trigger take."""
    return sum(waits_seconds(trigger.backoff_policy, trigger.backoff_delay_seconds, trigger.retry))


def routes() -> list[tuple[str, str]]:
    """The rows of the path map: regular expression and function."""
    lines = (line.strip() for line in PATHS_MAP.read_text(encoding="utf-8").splitlines())
    rows = [re.fullmatch(r"~(\S+)\s+(\w+);", line) for line in lines if line and not line.startswith("#")]
    return [(row[1], row[2]) for row in rows if row is not None]


def functions_of(path: str) -> list[str]:
    """The functions whose rows match a path."""
    return [function for pattern, function in routes() if re.search(pattern, path)]


def test_the_broker() -> None:
    """Every trigger names it, and who publishes without asking a manifest knows its exchange."""
    broker = load_broker(ROOT / "eventing" / "broker.yaml")
    assert Topology(broker, TRIGGERS).exchange == EXCHANGE
    manifests = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / "eventing/triggers").glob("*")]
    assert {manifest["spec"]["broker"] for manifest in manifests} == {broker.name}


def test_each_event_has_its_one_trigger() -> None:
    """Every type that a step publishes reaches the one step that it is for."""
    assert {(trigger.event_type, trigger.subscriber) for trigger in TRIGGERS} == {
        (events.UPLOADED, Destination("convert", "/")),
        (events.SUCCEEDED, Destination("notify", "/")),
        (events.FAILED, Destination("notify", "/")),
    }
    assert len(TRIGGERS) == 3


@each_trigger
def test_terms_of_delivery(trigger: Trigger) -> None:
    """Each trigger retries for longer than four leases live, and has recover as its dead-letter sink."""
    assert trigger.dead_letter_sink == Destination("recover", "/dead-letters")
    assert waits(trigger) >= 4 * LEASE_SECONDS
    assert (trigger.retry, trigger.backoff_policy, trigger.backoff_delay_seconds) == (5, "exponential", 2)


@each_trigger
def test_prefetched_events_end_before_the_consumer_timeout(trigger: Trigger) -> None:
    """Should all that a dispatcher holds fail, RabbitMQ still doesn't take the last of it for lost."""
    one = (trigger.retry + 1) * trigger.timeout_seconds + waits(trigger)
    assert math.ceil(PREFETCH / trigger.parallelism) * one < CONSUMER_TIMEOUT_SECONDS


def test_parallelism_and_timeouts() -> None:
    """A subscriber's own limits end before the dispatcher gives up on it."""
    assert {(t.subscriber.service, t.parallelism, t.timeout_seconds) for t in TRIGGERS} == {
        ("convert", 10, 600.0),
        ("notify", 4, 120.0),
    }
    assert all(SERVICE_SECONDS[trigger.subscriber.service] < trigger.timeout_seconds for trigger in TRIGGERS)
    assert all(SERVICE_SECONDS["recover"] < trigger.timeout_seconds for trigger in TRIGGERS)
    assert SERVICE_SECONDS["recover"] < TIMEOUT_SECONDS


@pytest.mark.parametrize("path", sorted((ROOT / "eventing" / "triggers").glob("*.yaml")), ids=lambda path: path.stem)
def test_what_only_the_cluster_reads(path: Path) -> None:
    """A trigger is called like its file, is tied to the broker and to no namespace, and its pods ask for little."""
    manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert manifest["apiVersion"] == "eventing.knative.dev/v1"
    assert manifest["spec"]["broker"] == "video2mp3"
    assert manifest["metadata"]["name"] == path.stem
    assert "namespace" not in path.read_text(encoding="utf-8")
    annotations = manifest["metadata"]["annotations"]
    for resource in ("cpu", "memory"):
        assert f"rabbitmq.eventing.knative.dev/{resource}-request" in annotations


BRIDGE = ROOT / "eventing" / "bridge"


def test_the_bridge_is_apart() -> None:
    """No installation has the bridge's trigger by chance; who has it gets successes under the terms of all others."""
    trigger = load_trigger(BRIDGE / "trigger.yaml")
    [usual] = [each for each in TRIGGERS if each.event_type == events.SUCCEEDED]
    assert trigger == replace(
        usual, name="bridge-succeeded", subscriber=Destination("bridge", "/"), timeout_seconds=600.0
    )
    assert SERVICE_SECONDS["bridge"] < trigger.timeout_seconds
    one = (trigger.retry + 1) * trigger.timeout_seconds + waits(trigger)
    assert math.ceil(PREFETCH / trigger.parallelism) * one < CONSUMER_TIMEOUT_SECONDS
    manifest = yaml.safe_load((BRIDGE / "trigger.yaml").read_text(encoding="utf-8"))
    assert (manifest["apiVersion"], manifest["spec"]["broker"]) == ("eventing.knative.dev/v1", "video2mp3")


def test_the_source_of_the_bridge() -> None:
    """Messages of the older system's queue come to bridge, and are tried for longer than a dead copy's lease."""
    path = BRIDGE / "source.yaml"
    source = load_source(path)
    assert (source.queue, source.destination) == ("video", Destination("bridge", "/"))
    waits = waits_seconds(source.backoff_policy, source.backoff_delay_seconds, source.retry)
    assert sum(waits) >= 4 * SILENT_SECONDS
    manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert manifest["apiVersion"] == "sources.knative.dev/v1alpha1"
    # What RabbitmqSource v1alpha1 has; Kubernetes drops any other field without a word.
    assert set(manifest["spec"]) == {"rabbitmqClusterReference", "rabbitmqResourcesConfig", "delivery", "sink"}
    assert set(manifest["spec"]["delivery"]) == {"retry", "backoffPolicy", "backoffDelay"}
    assert "namespace" not in path.read_text(encoding="utf-8")


def test_the_ping_goes_to_recover() -> None:
    """The sweeper is woken every five minutes, which leaves it time to finish and to sleep."""
    path = ROOT / "eventing" / "ping.yaml"
    ping = load_ping(path)
    assert (ping.destination, ping.schedule) == (Destination("recover", "/"), "*/5 * * * *")
    manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert manifest["apiVersion"] == "sources.knative.dev/v1"
    # The fields of PingSourceSpec v1; Kubernetes drops any other, such as `delivery`, without a word.
    assert set(manifest["spec"]) <= {"schedule", "timezone", "contentType", "data", "dataBase64", "sink", "ceOverrides"}
    assert "namespace" not in path.read_text(encoding="utf-8")


def test_every_service_is_a_function() -> None:
    """Whatever a trigger, the ping or the path map names has a folder below functions/."""
    named = {function for _, function in routes()} | {"recover"} | {trigger.subscriber.service for trigger in TRIGGERS}
    assert {name for name in named if not (ROOT / "functions" / name / "__init__.py").is_file()} == set()


def test_every_line_of_the_path_map_is_read() -> None:
    """No row is passed over for its form, and each has the one form that stands for a path and what is below it."""
    lines = [line for line in PATHS_MAP.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    assert len(routes()) == len(lines) == 9
    assert all(re.fullmatch(r"\^(/[a-z]+|/\\\.well-known/jwks\\\.json)\(/\|\$\)", pattern) for pattern, _ in routes())


@pytest.mark.parametrize(
    ("path", "function"),
    [
        ("/register", "auth"),
        ("/login", "auth"),
        ("/validate", "auth"),
        ("/password", "auth"),
        ("/.well-known/jwks.json", "auth"),
        ("/upload", "upload"),
        ("/uploads", "upload"),
        ("/uploads/0190", "upload"),
        ("/jobs", "jobs"),
        ("/jobs/", "jobs"),
        ("/jobs/0190/events", "jobs"),
        ("/download", "download"),
    ],
)
def test_paths(path: str, function: str) -> None:
    """Each path of the API has one function, and so has what lies below it."""
    assert functions_of(path) == [function]


@pytest.mark.parametrize(
    "path",
    ["/", "/jobsx", "/JOBS", "/x/jobs", "/uploadsx", "/.well-known/jwksXjson", "/Xwell-known/jwks.json", "/app.js"],
)
def test_other_paths_are_the_pages(path: str) -> None:
    """A path that only resembles one of the API has no function."""
    assert functions_of(path) == []
