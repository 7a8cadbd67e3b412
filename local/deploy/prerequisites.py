"""What has to be on a cluster before anything of ours, and how it gets there."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from local.deploy.runner import DeployError, Document, Runner

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
    #: The namespace, and in it a Deployment that the last of its files brings.
    namespace: str
    deployment: str


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
        "cert-manager-webhook",
    ),
    Prerequisite(
        "Knative Serving",
        "knative-v1.22.1",
        _release("knative/serving", "knative-v1.22.1", "serving-crds.yaml", "serving-core.yaml"),
        "services.serving.knative.dev",
        "knative-serving",
        "webhook",
    ),
    Prerequisite(
        "Kourier",
        "knative-v1.22.0",
        _release("knative-extensions/net-kourier", "knative-v1.22.0", "kourier.yaml"),
        "",
        "kourier-system",
        "3scale-kourier-gateway",
    ),
    Prerequisite(
        "Knative Eventing",
        "knative-v1.22.2",
        _release("knative/eventing", "knative-v1.22.2", "eventing-crds.yaml", "eventing-core.yaml"),
        "brokers.eventing.knative.dev",
        "knative-eventing",
        "eventing-webhook",
    ),
    Prerequisite(
        "RabbitMQ cluster operator",
        "v2.16.0",
        _release("rabbitmq/cluster-operator", "v2.16.0", "cluster-operator.yml"),
        "rabbitmqclusters.rabbitmq.com",
        "rabbitmq-system",
        "rabbitmq-cluster-operator",
    ),
    Prerequisite(
        "RabbitMQ messaging topology operator",
        "v1.20.1",
        _release(
            "rabbitmq/messaging-topology-operator", "v1.20.1", "messaging-topology-operator-with-certmanager.yaml"
        ),
        "exchanges.rabbitmq.com",
        "rabbitmq-system",
        "messaging-topology-operator",
    ),
    Prerequisite(
        "eventing-rabbitmq, the broker",
        "knative-v1.22.1",
        _release("knative-extensions/eventing-rabbitmq", "knative-v1.22.1", "rabbitmq-broker.yaml"),
        "rabbitmqbrokerconfigs.eventing.knative.dev",
        "knative-eventing",
        "rabbitmq-broker-webhook",
    ),
    Prerequisite(
        "eventing-rabbitmq, the source",
        "knative-v1.22.1",
        _release("knative-extensions/eventing-rabbitmq", "knative-v1.22.1", "rabbitmq-source.yaml"),
        "rabbitmqsources.sources.knative.dev",
        "knative-sources",
        "rabbitmq-controller-manager",
    ),
)


def check(documents: Iterable[Document], runner: Runner) -> None:
    """See that the cluster knows every kind that the documents are of, and that kn is at hand.

    Raises:
        DeployError: it does not; the text names what is missing.
    """
    runner.say(f"context: {runner.context or 'the current one'}")
    used = {_crd(document) for document in documents}
    # Exchanges and queues are the broker's own doing.
    wanted = [each for each in PREREQUISITES if each.crd in used or each.crd == "exchanges.rabbitmq.com"]
    runner.say(f"needed: {'; '.join(each.name for each in wanted)}")
    if runner.dry_run:
        return
    there = kinds(runner)
    missing = [each.name for each in wanted if each.crd not in there]
    if missing:
        raise DeployError(f"The cluster lacks {'; '.join(missing)}. Run knative/install, or install it your own way.")
    if shutil.which("kn") is None:
        raise DeployError("kn is not installed, or not on PATH (docs/deploy.md).")


def known(documents: Iterable[Document], runner: Runner) -> list[Document]:
    """Those of the documents whose kinds the cluster has."""
    there = kinds(runner)
    return [each for each in documents if runner.dry_run or not _is_custom(each) or _crd(each) in there]


def kinds(runner: Runner) -> set[str]:
    """The names of all CustomResourceDefinitions, as PLURAL.GROUP.

    Raises:
        DeployError: the cluster cannot be asked.
    """
    names = runner.ask("kubectl", "get", "customresourcedefinitions", "-o", "name")
    return {line.partition("/")[2] for line in names.split()}


def install(runner: Runner, *, issuer_email: str) -> None:
    """Bring every prerequisite that is not there onto the cluster, and set what we need of them.

    Args:
        runner: runs, or only tells.
        issuer_email: address for Let's Encrypt, to have certificates made; empty for none.

    Raises:
        DeployError: it cannot go on; the next run goes on from there.
    """
    for each in PREREQUISITES:
        runner.step(f"{each.name} {each.version}")
        kubectl = ("kubectl", "-n", each.namespace)
        if runner.ask(*kubectl, "get", "deployment", each.deployment, "--ignore-not-found", "-o", "name"):
            runner.say("is there already, in whatever version; it is left as it is.")
        else:
            for file in each.files:
                # Server-side: some are too large for the annotation that kubectl would leave.
                runner.run("kubectl", "apply", "--server-side", "--force-conflicts", "-f", file)
        available = ("--for=condition=Available", "--all", "--timeout=600s")
        runner.run(*kubectl, "wait", "deployment", *available, why=(*kubectl, "get", "pods"))
    runner.step("Knative's settings")
    _patch(runner, "knative-serving", "config-network", {"ingress-class": "kourier.ingress.networking.knative.dev"})
    # Without these two nobody knows a client's address, and the gateway could limit nobody by it.
    _patch(runner, "knative-serving", "config-kourier", {"use-remote-address": "true"})
    local = json.dumps({"spec": {"externalTrafficPolicy": "Local"}})
    try:
        runner.run("kubectl", "-n", "kourier-system", "patch", "service", "kourier", "--patch", local)
    except DeployError as error:
        # A Service that nobody outside reaches has no such policy.
        runner.say(f"{error}\nClients' addresses stay unknown, and requests are limited by no address.")
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


def _crd(document: Document) -> str:
    """What the definition of a document's kind is called, were it one."""
    return f"{document['kind'].lower()}s.{document['apiVersion'].rpartition('/')[0]}".replace("policys.", "policies.")


def _is_custom(document: Document) -> bool:
    return any(name in document["apiVersion"] for name in ("knative.dev/", "rabbitmq.com/"))


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
