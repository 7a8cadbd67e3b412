"""Reading triggers and the ping from their manifests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.delivery.triggers import (
    Destination,
    ManifestError,
    Ping,
    Source,
    Trigger,
    load_ping,
    load_source,
    load_triggers,
)

PARALLELISM = "rabbitmq.eventing.knative.dev/parallelism"
Edit = Callable[[dict[str, Any]], object]


def service(name: str) -> dict[str, Any]:
    """A destination that is a Knative Service."""
    return {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": name}}


def trigger() -> dict[str, Any]:
    """A trigger without fault."""
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": "work", "annotations": {PARALLELISM: "7"}},
        "spec": {
            "broker": "b",
            "filter": {"attributes": {"type": "t.v1"}},
            "subscriber": service("worker"),
            "delivery": {
                "retry": 3,
                "backoffPolicy": "linear",
                "backoffDelay": "PT0.5S",
                "timeout": "PT1H2M3S",
                "deadLetterSink": {**service("keeper"), "uri": "/dead-letters"},
            },
        },
    }


def ping() -> dict[str, Any]:
    """A PingSource without fault."""
    return {
        "apiVersion": "sources.knative.dev/v1",
        "kind": "PingSource",
        "metadata": {"name": "tick"},
        "spec": {
            "schedule": "*/5 * * * *",
            "contentType": "application/json",
            "data": '{"a": 1}',
            "sink": service("keeper"),
        },
    }


def source() -> dict[str, Any]:
    """A RabbitmqSource without fault."""
    return {
        "apiVersion": "sources.knative.dev/v1alpha1",
        "kind": "RabbitmqSource",
        "metadata": {"name": "theirs"},
        "spec": {
            "rabbitmqClusterReference": {"connectionSecret": {"name": "theirs"}},
            "rabbitmqResourcesConfig": {"queueName": "video", "predeclared": True, "parallelism": 3},
            "delivery": {"retry": 4, "backoffPolicy": "exponential", "backoffDelay": "PT2S"},
            "sink": service("bridge"),
        },
    }


def delivery(**values: Any) -> Edit:
    """Change fields of spec.delivery."""
    return lambda manifest: manifest["spec"]["delivery"].update(values)


def spec(**values: Any) -> Edit:
    """Change fields of spec."""
    return lambda manifest: manifest["spec"].update(values)


def parallelism(value: str) -> Edit:
    """Change the annotation."""
    return lambda manifest: manifest["metadata"].update(annotations={PARALLELISM: value})


def write(path: Path, manifest: object) -> Path:
    """Write a manifest as YAML."""
    path.write_text(yaml.safe_dump(manifest), encoding="utf-8")
    return path


def test_a_trigger_is_read_whole(tmp_path: Path) -> None:
    """Every field of a trigger comes from its manifest, with units made plain."""
    write(tmp_path / "work.yaml", trigger())
    assert load_triggers(tmp_path) == (
        Trigger(
            name="work",
            event_type="t.v1",
            subscriber=Destination("worker", "/"),
            parallelism=7,
            retry=3,
            backoff_policy="linear",
            backoff_delay_seconds=0.5,
            timeout_seconds=3723.0,
            dead_letter_sink=Destination("keeper", "/dead-letters"),
        ),
    )


def test_triggers_come_in_the_order_of_their_files(tmp_path: Path) -> None:
    """All *.yaml of the directory are triggers; other files are not looked at."""
    for name in ("b", "a"):
        write(tmp_path / f"{name}.yaml", {**trigger(), "metadata": {**trigger()["metadata"], "name": name}})
    (tmp_path / "notes.md").write_text("not YAML: [", encoding="utf-8")
    assert [each.name for each in load_triggers(tmp_path)] == ["a", "b"]


def test_no_trigger_at_all(tmp_path: Path) -> None:
    """A directory without triggers is refused rather than dropping every event."""
    with pytest.raises(ManifestError, match="every event would be dropped"):
        load_triggers(tmp_path)


@pytest.mark.parametrize(
    ("edit", "field", "reason"),
    [
        (lambda m: m["spec"]["delivery"].pop("deadLetterSink"), "spec.delivery.deadLetterSink", "would be dropped"),
        (lambda m: m["spec"].pop("delivery"), "spec.delivery.deadLetterSink", "would be dropped"),
        (lambda m: m["spec"]["delivery"].pop("timeout"), "spec.delivery.timeout", "hold its slot"),
        (lambda m: m["metadata"].pop("annotations"), f"metadata.annotations.{PARALLELISM}", "one by one"),
        (parallelism("0"), PARALLELISM, "1 to 1000"),
        (parallelism("1001"), PARALLELISM, "1 to 1000"),
        (parallelism("many"), PARALLELISM, "1 to 1000"),
        (spec(filters=[{"exact": {"type": "t.v1"}}]), "spec.filters", "every event"),
        (lambda m: m["spec"].pop("filter"), "spec.filter.attributes.type", "is missing"),
        (spec(filter={"attributes": {"type": "t", "source": "/s"}}), "spec.filter.attributes", "only `type`"),
        (delivery(retry="5"), "spec.delivery.retry", "whole number"),
        (delivery(retry=True), "spec.delivery.retry", "whole number"),
        (delivery(retry=-1), "spec.delivery.retry", "whole number"),
        (delivery(backoffPolicy="random"), "spec.delivery.backoffPolicy", "linear or exponential"),
        (delivery(backoffDelay="2s"), "spec.delivery.backoffDelay", "ISO 8601"),
        (delivery(backoffDelay="PT"), "spec.delivery.backoffDelay", "ISO 8601"),
        (delivery(timeout="PT0S"), "spec.delivery.timeout", "ISO 8601"),
        (delivery(timeout=600), "spec.delivery.timeout", "must be a text"),
        (delivery(deadLetterSink={**service("r"), "uri": "http://x/"}), "spec.delivery.deadLetterSink.uri", "a path"),
        (spec(subscriber={"uri": "http://x/"}), "spec.subscriber.ref.kind", "is missing"),
        (
            spec(subscriber={"ref": {"apiVersion": "v1", "kind": "Service", "name": "x"}}),
            "spec.subscriber.ref",
            "Knative Service",
        ),
        (lambda m: m.update(kind="Broker"), "kind", "Trigger is expected"),
        (lambda m: m["metadata"].pop("name"), "metadata.name", "is missing"),
    ],
)
def test_a_wrong_trigger_names_file_and_field(tmp_path: Path, edit: Edit, field: str, reason: str) -> None:
    """What the dispatcher would lose events by, or nobody could understand, is refused where it stands."""
    manifest = trigger()
    edit(manifest)
    path = write(tmp_path / "work.yaml", manifest)
    with pytest.raises(ManifestError) as caught:
        load_triggers(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert f"{field}: " in message
    assert reason in message


@pytest.mark.parametrize("text", ["kind: [", "kind: Trigger\n---\nkind: Trigger\n"])
def test_what_is_no_single_yaml_document_names_the_file(tmp_path: Path, text: str) -> None:
    """A file that YAML can't read as one document is named."""
    (tmp_path / "work.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=r"work\.yaml"):
        load_triggers(tmp_path)


@pytest.mark.parametrize("text", ["", "- a\n", "text\n"])
def test_what_is_no_mapping_is_no_trigger(tmp_path: Path, text: str) -> None:
    """An empty file, a list or a text has no kind."""
    (tmp_path / "work.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match="kind: is missing"):
        load_triggers(tmp_path)


def test_a_ping_is_read_whole(tmp_path: Path) -> None:
    """Every field of a ping comes from its manifest."""
    assert load_ping(write(tmp_path / "ping.yaml", ping())) == Ping(
        name="tick",
        schedule="*/5 * * * *",
        data='{"a": 1}',
        content_type="application/json",
        destination=Destination("keeper", "/"),
    )


def test_a_ping_of_plain_text(tmp_path: Path) -> None:
    """Only a ping that says so must carry JSON."""
    manifest = ping()
    spec(contentType="text/plain", data="hello")(manifest)
    assert load_ping(write(tmp_path / "ping.yaml", manifest)).data == "hello"


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (spec(schedule="often"), "spec.schedule"),
        (spec(schedule="61 * * * *"), "spec.schedule"),
        (spec(data="{"), "spec.data"),
        (spec(data={}), "spec.data"),
        (lambda m: m["spec"].pop("sink"), "spec.sink.ref.kind"),
        (lambda m: m.update(kind="Trigger"), "kind"),
    ],
)
def test_a_wrong_ping_names_file_and_field(tmp_path: Path, edit: Edit, field: str) -> None:
    """A ping that would never come is refused where it stands."""
    manifest = ping()
    edit(manifest)
    path = write(tmp_path / "ping.yaml", manifest)
    with pytest.raises(ManifestError) as caught:
        load_ping(path)
    assert str(caught.value).startswith(f"{path}: {field}: ")


def resources(**values: Any) -> Edit:
    """Change fields of spec.rabbitmqResourcesConfig."""
    return lambda manifest: manifest["spec"]["rabbitmqResourcesConfig"].update(values)


def test_a_source_is_read_whole(tmp_path: Path) -> None:
    """Every field of a source comes from its manifest, with units made plain."""
    assert load_source(write(tmp_path / "source.yaml", source())) == Source(
        name="theirs",
        queue="video",
        parallelism=3,
        retry=4,
        backoff_policy="exponential",
        backoff_delay_seconds=2.0,
        destination=Destination("bridge", "/"),
    )


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (resources(predeclared=False), "spec.rabbitmqResourcesConfig.predeclared"),
        (lambda m: m["spec"]["rabbitmqResourcesConfig"].pop("predeclared"), "spec.rabbitmqResourcesConfig.predeclared"),
        (resources(queueName=""), "spec.rabbitmqResourcesConfig.queueName"),
        (resources(parallelism=0), "spec.rabbitmqResourcesConfig.parallelism"),
        (resources(parallelism="3"), "spec.rabbitmqResourcesConfig.parallelism"),
        (lambda m: m["spec"]["rabbitmqResourcesConfig"].pop("parallelism"), "spec.rabbitmqResourcesConfig.parallelism"),
        (delivery(retry=None), "spec.delivery.retry"),
        (delivery(backoffPolicy="random"), "spec.delivery.backoffPolicy"),
        (delivery(backoffDelay="2s"), "spec.delivery.backoffDelay"),
        (lambda m: m["spec"].pop("delivery"), "spec.delivery.retry"),
        (lambda m: m["spec"].pop("sink"), "spec.sink.ref.kind"),
        (lambda m: m["metadata"].pop("name"), "metadata.name"),
        (lambda m: m.update(kind="PingSource"), "kind"),
    ],
)
def test_a_wrong_source_names_file_and_field(tmp_path: Path, edit: Edit, field: str) -> None:
    """A source that would fail, stand still or lose messages is refused where it stands."""
    manifest = source()
    edit(manifest)
    path = write(tmp_path / "source.yaml", manifest)
    with pytest.raises(ManifestError) as caught:
        load_source(path)
    assert str(caught.value).startswith(f"{path}: {field}: ")
