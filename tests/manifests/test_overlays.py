"""What must agree between the manifests of an overlay, the settings and the code, in every overlay."""

import math
import re
import runpy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from functions.common.config import NEEDS, load
from functions.common.database import POOL_SIZE
from functions.jobs.streams import MOST_STREAMS
from local.deploy.patience import CONSUMER_TIMEOUT_MILLISECONDS
from local.deploy.rendering import IMAGES, name_of, namespace_of, of_kind, secrets_of
from local.manifests import check
from local.server.gateway import load_paths
from tests.manifests.test_eventing import CONSUMER_TIMEOUT_SECONDS, PREFETCH, SERVICE_SECONDS

pytestmark = pytest.mark.usefixtures("programs")

ROOT: Final = Path(__file__).parents[2]
FUNCTIONS: Final = {"auth", "upload", "convert", "notify", "jobs", "download", "recover"}
#: The settings that each Secret holds; docs/deploy.md says how those of other people's servers are made.
SECRETS: Final = {
    "database": {"DATABASE_URL"},
    "blobs": {"BLOBS_URL"},
    "mail": {"MAIL_URL"},
    "token-key": {"TOKEN_PRIVATE_KEY"},
    "token-jwks": {"TOKEN_JWKS"},
    "link-key": {"LINK_KEY"},
    "bridge": {"BRIDGE_AMQP_URL"},
}
#: Settings that name a cluster-wide address and are no secret.
PUBLIC: Final = {"PUBLIC_URL"}
#: What the servers of other people have to allow, as docs/deploy.md says.
CONNECTIONS: Final = {"external": 150, "production": 300}

Document = dict[str, Any]


@cache
def documents(overlay: str) -> list[Document]:
    """All documents of an overlay."""
    return check.documents(check.render(check.OVERLAYS / overlay))


@pytest.fixture(params=[folder.name for folder in check.overlays()])
def overlay(request: pytest.FixtureRequest) -> str:
    """The name of each overlay."""
    return str(request.param)


def services(overlay: str) -> dict[str, Document]:
    """The Knative Services of an overlay, by name."""
    found = of_kind(documents(overlay), "Service", group="serving.knative.dev")
    return {name_of(service): service for service in found}


def template(service: Document) -> Document:
    """What a Service's revisions are made of."""
    made: Document = service["spec"]["template"]["spec"]
    return made


def container(service: Document) -> Document:
    """Its one container."""
    [only] = template(service)["containers"]
    made: Document = only
    return made


def annotation(document: Document, name: str) -> str | None:
    """An annotation of a Service's revisions that Knative's autoscaler reads."""
    annotations: Mapping[str, str] = document["spec"]["template"]["metadata"].get("annotations", {})
    return annotations.get(f"autoscaling.knative.dev/{name}")


def gunicorn(function: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """How gunicorn serves a function."""
    monkeypatch.setenv("FUNCTION_TARGET", function)
    return runpy.run_path(str(ROOT / "functions" / "gunicorn.conf.py"))


def settings(overlay: str) -> dict[str, str]:
    """What the functions are told openly."""
    [found] = [each for each in of_kind(documents(overlay), "ConfigMap") if name_of(each).startswith("settings-")]
    data: dict[str, str] = found["data"]
    return data


def test_every_function_is_a_service(overlay: str) -> None:
    """And the gateway, which alone can be reached from outside; the path map names no other."""
    found = services(overlay)
    assert found.keys() == FUNCTIONS | {"gateway"}
    for name, service in found.items():
        visibility = service["metadata"].get("labels", {}).get("networking.knative.dev/visibility")
        assert visibility == (None if name == "gateway" else "cluster-local")
        told = {each["name"]: each.get("value") for each in container(service)["env"]}
        assert told.get("FUNCTION_TARGET") == (None if name == "gateway" else name)
    assert {function for _, function in load_paths()} <= found.keys()


def test_time_limits(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a function stops by itself ends before Knative cuts it, and that before the dispatcher gives up."""
    for name, service in services(overlay).items():
        limit = template(service)["timeoutSeconds"]
        # Without the second one Knative ends after 300 s what has not begun to answer.
        assert template(service)["responseStartTimeoutSeconds"] == limit <= 600
        if name != "gateway":
            assert limit == gunicorn(name, monkeypatch)["graceful_timeout"]
        assert limit == SERVICE_SECONDS.get(name, limit)
    config = load(settings(overlay))
    limits = {name: template(service)["timeoutSeconds"] for name, service in services(overlay).items()}
    assert config.convert_seconds + 30 < limits["convert"]
    assert config.download_seconds < limits["download"] <= limits["gateway"]
    assert config.stream_seconds < limits["jobs"] <= limits["gateway"]
    for giver in of_kind(documents(overlay), "Trigger", "Broker"):
        timeout = int(re.fullmatch(r"PT(\d+)S", giver["spec"]["delivery"]["timeout"])[1])  # type: ignore[index]  # None fails
        # Dead letters are given as long as the events that they were.
        assert limits["recover"] < timeout
        if giver["kind"] == "Trigger":
            assert limits[giver["spec"]["subscriber"]["ref"]["name"]] < timeout


def test_concurrency(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four threads stay free for probes: with none left the kubelet would kill a busy container."""
    for name in FUNCTIONS - {"convert"}:
        service = template(services(overlay)[name])
        assert service["containerConcurrency"] == gunicorn(name, monkeypatch)["threads"] - 4
    jobs = services(overlay)["jobs"]
    assert int(annotation(jobs, "target") or 0) < MOST_STREAMS < template(jobs)["containerConcurrency"]


def test_convert(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One job a pod, a pod for each event in delivery and none besides, with a processor of its own."""
    service = services(overlay)["convert"]
    assert (template(service)["containerConcurrency"], gunicorn("convert", monkeypatch)["threads"]) == (1, 4)
    assert annotation(service, "target-utilization-percentage") == "100"
    assert annotation(service, "target-burst-capacity") == "-1"
    assert "livenessProbe" not in container(service)
    cpu = str(container(service)["resources"]["limits"]["cpu"])
    assert not cpu.endswith("m")
    assert int(cpu) >= 1
    [trigger] = [each for each in of_kind(documents(overlay), "Trigger") if name_of(each) == "convert"]
    parallelism = trigger["metadata"]["annotations"]["rabbitmq.eventing.knative.dev/parallelism"]
    assert parallelism == annotation(service, "max-scale")


def test_each_trigger(overlay: str) -> None:
    """Has a parallelism, a dead-letter sink of its own, and tries that end before RabbitMQ takes them for lost."""
    triggers = of_kind(documents(overlay), "Trigger")
    assert len(triggers) == 3
    for trigger in triggers:
        parallelism = int(trigger["metadata"]["annotations"]["rabbitmq.eventing.knative.dev/parallelism"])
        delivery = trigger["spec"]["delivery"]
        assert delivery["deadLetterSink"] == {
            "ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "recover"},
            "uri": "/dead-letters",
        }
        assert "filters" not in trigger["spec"]
        one = (delivery["retry"] + 1) * int(delivery["timeout"][2:-1]) + 124
        assert math.ceil(PREFETCH / parallelism) * one < CONSUMER_TIMEOUT_SECONDS


def test_consumer_timeout(overlay: str) -> None:
    """RabbitMQ is told of it, whoever runs it."""
    clusters = of_kind(documents(overlay), "RabbitmqCluster")
    wanted = f"consumer_timeout = {CONSUMER_TIMEOUT_SECONDS * 1000}"
    for cluster in clusters:
        assert wanted in cluster["spec"]["rabbitmq"]["additionalConfig"].splitlines()
    assert CONSUMER_TIMEOUT_SECONDS * 1000 == CONSUMER_TIMEOUT_MILLISECONDS
    # A policy of ours would be the only one of a queue, and take the trigger's dead-letter exchange from it.
    assert not of_kind(documents(overlay), "Policy")
    [config] = of_kind(documents(overlay), "RabbitmqBrokerConfig")
    reference = config["spec"]["rabbitmqClusterReference"]
    assert config["spec"]["queueType"] == "quorum"
    assert reference.pop("namespace") == namespace_of(documents(overlay))
    assert reference == ({"name": name_of(clusters[0])} if clusters else {"connectionSecret": {"name": "rabbitmq"}})


def test_each_function_is_told_what_it_needs_and_no_more(overlay: str) -> None:
    """No function holds an address or a key that another one needs."""
    for name, service in services(overlay).items():
        referred = [
            source["secretRef"]["name"] for source in container(service).get("envFrom", ()) if "secretRef" in source
        ]
        held = set().union(*(SECRETS[secret] for secret in referred))
        assert held == set(NEEDS.get(name, ())) - PUBLIC - {"BROKER_URL"}
        labels = service["metadata"].get("labels", {})
        assert ("video2mp3/publishes" in labels) == ("BROKER_URL" in NEEDS.get(name, ()))
    assert settings(overlay).keys() >= PUBLIC


def test_who_publishes_is_told_where(overlay: str) -> None:
    """The one SinkBinding binds exactly those with the label to the broker of the triggers."""
    [binding] = of_kind(documents(overlay), "SinkBinding")
    [broker] = of_kind(documents(overlay), "Broker")
    assert binding["spec"]["subject"]["selector"] == {"matchLabels": {"video2mp3/publishes": "true"}}
    assert binding["spec"]["sink"]["ref"]["name"] == name_of(broker)
    assert {each["spec"]["broker"] for each in of_kind(documents(overlay), "Trigger")} == {name_of(broker)}


def test_each_step_wakes_the_next(overlay: str) -> None:
    """By the name that the next one has in this namespace."""
    woken = {}
    for name, service in services(overlay).items():
        told = {each["name"]: each for each in container(service)["env"]}
        if "WAKE_URL" in told:
            woken[name] = told["WAKE_URL"]["value"]
        if "$(NAMESPACE)" in yaml.safe_dump(told):
            # Kubernetes puts in only what comes before.
            assert next(iter(told)) == "NAMESPACE" or list(told).index("NAMESPACE") < len(told) - 1
            key = told["NAMESPACE"]["valueFrom"]["configMapKeyRef"]
            assert (key["key"], key["name"].startswith("settings-")) == ("NAMESPACE", True)
    assert woken == {
        "upload": "http://convert.$(NAMESPACE).svc.cluster.local",
        "convert": "http://notify.$(NAMESPACE).svc.cluster.local",
    }
    assert settings(overlay)["NAMESPACE"] == namespace_of(documents(overlay))


def test_connections_to_the_database(overlay: str) -> None:
    """All pods that there may be together stay under what the server allows."""
    found = services(overlay)
    most = sum(int(annotation(found[name], "max-scale") or 0) for name in FUNCTIONS)
    assert all(annotation(service, "max-scale") for service in found.values())
    allowed = CONNECTIONS.get(overlay)
    if allowed is None:
        [server] = [each for each in of_kind(documents(overlay), "StatefulSet") if name_of(each) == "mysql"]
        [words] = [argument for argument in container(server)["args"] if argument.startswith("--max-connections=")]
        allowed = int(words.partition("=")[2])
    # A revision that replaces another runs beside it for a while, and the migration needs one.
    assert most * POOL_SIZE + 2 < allowed


def pods(overlay: str) -> dict[str, tuple[Document, Document]]:
    """The pods of everything that we say the containers of: pod and its one container."""
    found = {}
    for document in documents(overlay):
        spec = document.get("spec", {}).get("template", {}).get("spec", {})
        if "containers" in spec:
            [only] = spec["containers"]
            found[f"{document['kind']} {name_of(document)}"] = (spec, only)
    return found


def test_every_container_is_confined(overlay: str) -> None:
    """No root, nothing writable but volumes, no capability, no token for Kubernetes, a bound on everything."""
    accounts = {name_of(each): each for each in of_kind(documents(overlay), "ServiceAccount")}
    for name, (pod, only) in pods(overlay).items():
        context = {**pod.get("securityContext", {}), **only["securityContext"]}
        assert context["runAsNonRoot"], name
        assert context["runAsUser"] > 0
        assert context["readOnlyRootFilesystem"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        account = accounts.get(pod.get("serviceAccountName", ""), pod)
        assert account["automountServiceAccountToken"] is False, name
        assert only["resources"].keys() == {"requests", "limits"}
        assert only["resources"]["limits"].keys() >= {"cpu", "memory"}
        assert "/tmp" in [mount["mountPath"] for mount in only["volumeMounts"]]  # noqa: S108 - the containers'


def test_images(overlay: str) -> None:
    """Ours by their three names; none by a tag that means another image tomorrow."""
    for name, (_, only) in pods(overlay).items():
        repository, _, tag = only["image"].rpartition(":")
        assert repository, name
        assert tag != "latest"
        if name.startswith(("Service", "Job")):
            assert repository.removeprefix("dev.local/video2mp3-") in IMAGES
    wanted = {name: name if name in ("convert", "gateway") else "functions" for name in FUNCTIONS | {"gateway"}}
    images = {name: container(service)["image"] for name, service in services(overlay).items()}
    assert images == {name: f"dev.local/video2mp3-{target}:dev" for name, target in wanted.items()}


def test_no_secret_is_in_a_manifest(overlay: str) -> None:
    """Secrets are only referred to; what looks like one by its name comes from one."""
    assert not of_kind(documents(overlay), "Secret")
    known = {"mysql", "postgres", "mongodb", "minio", "rabbitmq", "bridge-rabbitmq", *SECRETS}
    assert secrets_of(documents(overlay)) <= known
    for name, (_, only) in pods(overlay).items():
        for variable in only.get("env", ()):
            if re.search("PASSWORD|SECRET|TOKEN|KEY", variable["name"]) and variable.get("value") != "yes":
                assert "secretKeyRef" in variable["valueFrom"], name
    for config in of_kind(documents(overlay), "ConfigMap"):
        assert not config["data"].keys() & set().union(*SECRETS.values())
        assert not re.search("://[^/]*@", yaml.safe_dump(config))


def test_minikube_has_room() -> None:
    """With four processors and 8 GB everything is scheduled: each function once, and the second convert."""
    cpu, memory = 0.0, 0.0
    for name, (_, only) in pods("minikube").items():
        count = 2 if name == "Service convert" else 1
        # Knative's queue-proxy stands beside each function.
        beside = 0.025 if name.startswith("Service ") else 0
        cpu += count * (cores(only["resources"]["requests"]["cpu"]) + beside)
        memory += count * mebibytes(only["resources"]["requests"]["memory"])
    [cluster] = of_kind(documents("minikube"), "RabbitmqCluster")
    requests = cluster["spec"]["resources"]["requests"]
    # A dispatcher and a dead-letter dispatcher for each trigger, a dead-letter dispatcher for the broker, the ingress.
    eventing = 8
    # Kubernetes, Calico, Knative and the operators ask for three of the four.
    assert cpu + cores(requests["cpu"]) + eventing * 0.01 < 0.9
    assert memory + mebibytes(requests["memory"]) + eventing * 32 < 3_500


def cores(text: str) -> float:
    """Processors."""
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)


def mebibytes(text: str) -> float:
    """MiB."""
    return float(text[:-2]) * {"Mi": 1, "Gi": 1024}[text[-2:]]


def test_convert_reaches_little(overlay: str) -> None:
    """Names, stores, broker and notify; servers elsewhere only by their ports and never the machine's own addresses."""
    [policy] = [each for each in of_kind(documents(overlay), "NetworkPolicy") if name_of(each) == "convert"]
    assert policy["spec"]["policyTypes"] == ["Egress"]
    assert policy["spec"]["podSelector"]["matchLabels"] == {"serving.knative.dev/service": "convert"}
    anywhere = [
        (rule["ports"], peer["ipBlock"])
        for rule in policy["spec"]["egress"]
        for peer in rule["to"]
        if peer.get("ipBlock", {}).get("cidr", "").endswith("/0")
    ]
    assert len(anywhere) == (2 if overlay in CONNECTIONS else 0)
    for ports, block in anywhere:
        assert {port["port"] for port in ports} == {3306, 5432, 27017, 443, 9000}
        assert block["except"] == (["169.254.0.0/16"] if block["cidr"] == "0.0.0.0/0" else ["fe80::/10"])
    # A rule without `to` or without peers would allow everything.
    assert all(rule["to"] for rule in policy["spec"]["egress"])


def test_the_host_name(overlay: str) -> None:
    """The name belongs to this namespace and leads to the gateway, and links in mails begin with it."""
    [mapping] = of_kind(documents(overlay), "DomainMapping")
    [claim] = of_kind(documents(overlay), "ClusterDomainClaim")
    assert mapping["spec"]["ref"]["name"] == "gateway"
    assert (name_of(claim), claim["spec"]["namespace"]) == (name_of(mapping), namespace_of(documents(overlay)))
    scheme = "https" if overlay == "production" else "http"
    assert settings(overlay)["PUBLIC_URL"].startswith(f"{scheme}://{name_of(mapping)}")
    redirected = mapping["metadata"].get("annotations", {}).get("networking.knative.dev/http-protocol") == "Redirected"
    assert redirected == (scheme == "https")


def test_three_nodes_where_it_counts() -> None:
    """Staging and production have RabbitMQ on three machines, and production a gateway that is always there."""
    for overlay, nodes in (("minikube", 1), ("staging", 3), ("production", 3)):
        [cluster] = of_kind(documents(overlay), "RabbitmqCluster")
        assert cluster["spec"]["replicas"] == nodes
    assert annotation(services("production")["gateway"], "min-scale") == "2"
    for overlay in ("minikube", "external", "staging"):
        assert all(annotation(service, "min-scale") is None for service in services(overlay).values())
