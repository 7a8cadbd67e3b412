"""What has to be on a cluster before anything of ours, and how it gets there."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from local.deploy.rendering import Document
from local.deploy.runner import DeployError, Runner

_GITHUB: Final = "https://github.com"


@dataclass(frozen=True)
class Prerequisite:
    """A part of the platform, at the one version that this project was written for."""

    name: str
    version: str
    #: The manifests, in the order in which they are applied.
    files: tuple[str, ...]
    #: A kind that only it brings.
    crd: str
    #: Its namespace, whose Deployments have to be available.
    namespace: str


def _release(repository: str, tag: str, *files: str) -> tuple[str, ...]:
    return tuple(f"{_GITHUB}/{repository}/releases/download/{tag}/{file}" for file in files)


#: In the order in which they depend on each other.
PREREQUISITES: Final = (
    Prerequisite(
        "cert-manager",
        "v1.21.2",
        _release("cert-manager/cert-manager", "v1.21.2", "cert-manager.yaml"),
        "certificates.cert-manager.io",
        "cert-manager",
    ),
    Prerequisite(
        "Knative Serving",
        "knative-v1.22.1",
        _release("knative/serving", "knative-v1.22.1", "serving-crds.yaml", "serving-core.yaml"),
        "services.serving.knative.dev",
        "knative-serving",
    ),
    Prerequisite(
        "Kourier",
        "knative-v1.22.0",
        _release("knative-extensions/net-kourier", "knative-v1.22.0", "kourier.yaml"),
        "",
        "kourier-system",
    ),
    Prerequisite(
        "Knative Eventing",
        "knative-v1.22.2",
        _release("knative/eventing", "knative-v1.22.2", "eventing-crds.yaml", "eventing-core.yaml"),
        "brokers.eventing.knative.dev",
        "knative-eventing",
    ),
    Prerequisite(
        "RabbitMQ cluster operator",
        "v2.16.0",
        _release("rabbitmq/cluster-operator", "v2.16.0", "cluster-operator.yml"),
        "rabbitmqclusters.rabbitmq.com",
        "rabbitmq-system",
    ),
    Prerequisite(
        "RabbitMQ messaging topology operator",
        "v1.20.1",
        _release(
            "rabbitmq/messaging-topology-operator", "v1.20.1", "messaging-topology-operator-with-certmanager.yaml"
        ),
        "exchanges.rabbitmq.com",
        "rabbitmq-system",
    ),
    Prerequisite(
        "eventing-rabbitmq, the broker",
        "knative-v1.22.1",
        _release("knative-extensions/eventing-rabbitmq", "knative-v1.22.1", "rabbitmq-broker.yaml"),
        "rabbitmqbrokerconfigs.eventing.knative.dev",
        "knative-eventing",
    ),
    Prerequisite(
        "eventing-rabbitmq, the source",
        "knative-v1.22.1",
        _release("knative-extensions/eventing-rabbitmq", "knative-v1.22.1", "rabbitmq-source.yaml"),
        "rabbitmqsources.sources.knative.dev",
        "knative-sources",
    ),
)


def check(documents: Iterable[Document], runner: Runner) -> None:
    """See that the cluster knows every kind that the documents are of.

    Raises:
        DeployError: it does not; the text names what is missing.
    """
    kinds = {(document["apiVersion"].rpartition("/")[0], document["kind"]) for document in documents}
    wanted = [each for each in PREREQUISITES if each.crd and _is_used(each.crd, kinds)]
    # Exchanges and queues are the broker's own doing.
    wanted += [each for each in PREREQUISITES if each.crd == "exchanges.rabbitmq.com" and each not in wanted]
    there = _crds(runner)
    runner.say(f"needed: {', '.join(each.name for each in wanted)}")
    missing = [each.name for each in wanted if each.crd not in there]
    if missing and not runner.dry_run:
        raise DeployError(f"The cluster lacks {', '.join(missing)}: run knative/install, or install it your own way.")


def install(runner: Runner, *, issuer_email: str) -> None:
    """Bring every prerequisite that is not there onto the cluster, and set what we need of them.

    Args:
        runner: runs, or only tells.
        issuer_email: address for Let's Encrypt, to have certificates made; empty for none.

    Raises:
        DeployError: it cannot go on; the next run goes on from there.
    """
    there = _crds(runner)
    namespaces = runner.ask("kubectl", "get", "namespaces", "-o", "name")
    for each in PREREQUISITES:
        runner.step(f"{each.name} {each.version}")
        if each.crd in there if each.crd else f"namespace/{each.namespace}\n" in namespaces:
            runner.say("is there already, in whatever version; it is left as it is.")
            continue
        for file in each.files:
            # Server-side: some are too large for the annotation that kubectl would leave.
            runner.run("kubectl", "apply", "--server-side", "--force-conflicts", "-f", file)
        why = ("kubectl", "-n", each.namespace, "get", "pods")
        available = ("--for=condition=Available", "--all", "--timeout=600s")
        runner.run("kubectl", "-n", each.namespace, "wait", "deployment", *available, why=why)
    runner.step("Knative's settings")
    _patch(runner, "knative-serving", "config-network", {"ingress-class": "kourier.ingress.networking.knative.dev"})
    # Without these two nobody knows a client's address, and the gateway could limit nobody by it.
    _patch(runner, "knative-serving", "config-kourier", {"use-remote-address": "true"})
    local = json.dumps({"spec": {"externalTrafficPolicy": "Local"}})
    runner.run("kubectl", "-n", "kourier-system", "patch", "service", "kourier", "--patch", local)
    if issuer_email:
        runner.step("Certificates by Let's Encrypt")
        runner.run(
            "kubectl", "apply", "-f", "-", given=json.dumps(_issuer(issuer_email)), shown="ClusterIssuer letsencrypt"
        )
        issuer = "kind: ClusterIssuer\nname: letsencrypt\n"
        _patch(runner, "knative-serving", "config-certmanager", {"issuerRef": issuer})
        _patch(runner, "knative-serving", "config-network", {"external-domain-tls": "Enabled"})
        # Whether it looks after certificates it decides at its start.
        runner.run("kubectl", "-n", "knative-serving", "rollout", "restart", "deployment/controller")


def knows_clients(runner: Runner) -> bool:
    """Whether Kourier tells who a client is."""
    config = ("kubectl", "-n", "knative-serving", "get", "configmap", "config-kourier")
    service = ("kubectl", "-n", "kourier-system", "get", "service", "kourier")
    try:
        told = runner.ask(*config, "-o", "jsonpath={.data.use-remote-address}")
        policy = runner.ask(*service, "-o", "jsonpath={.spec.externalTrafficPolicy}")
    except DeployError:
        return False
    return runner.dry_run or (told, policy) == ("true", "Local")


def _crds(runner: Runner) -> set[str]:
    names = runner.ask("kubectl", "get", "customresourcedefinitions", "-o", "name")
    return {line.partition("/")[2] for line in names.split()}


def _is_used(crd: str, kinds: Iterable[tuple[str, str]]) -> bool:
    plural, _, group = crd.partition(".")
    return any(group == used and plural == f"{kind.lower()}s" for used, kind in kinds)


def _patch(runner: Runner, namespace: str, name: str, data: dict[str, str]) -> None:
    patch = json.dumps({"data": data})
    runner.run("kubectl", "-n", namespace, "patch", "configmap", name, "--patch", patch)


def _issuer(email: str) -> Document:
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "ClusterIssuer",
        "metadata": {"name": "letsencrypt"},
        "spec": {
            "acme": {
                "server": "https://acme-v02.api.letsencrypt.org/directory",
                "email": email,
                "privateKeySecretRef": {"name": "letsencrypt"},
                "solvers": [{"http01": {"ingress": {"ingressClassName": "kourier.ingress.networking.knative.dev"}}}],
            }
        },
    }
