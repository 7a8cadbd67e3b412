"""Applying everything in the one order in which each part finds what it needs."""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import yaml

from local.deploy import credentials, patience, prerequisites
from local.deploy.rendering import IMAGES, ROOT, Document, Wanted, name_of, namespace_of, of_kind, render
from local.deploy.runner import DeployError, Runner

_KSVC: Final = "ksvc"
_TRIGGERS: Final = ("Trigger", "PingSource", "RabbitmqSource")
_DOMAIN: Final = ("ClusterDomainClaim", "DomainMapping")


def deploy(wanted: Wanted, runner: Runner, *, build: bool) -> None:
    """Bring an overlay onto the cluster, or what is there of it up to date.

    Args:
        wanted: what is to be deployed.
        runner: runs, or only tells.
        build: whether the images are made in minikube.

    Raises:
        DeployError: it cannot go on; what was applied stays, and the next run goes on from there.
    """
    known = prerequisites.knows_clients(runner)
    documents = render(replace(wanted, knows_clients=known))
    namespace = namespace_of(documents)
    runner.step("Prerequisites")
    prerequisites.check(documents, runner)
    if not known:
        runner.say(
            "Kourier does not tell who a client is (knative/install sets that up), so requests are limited by no"
        )
        runner.say("address. Wrong passwords are limited for each account all the same.")
    if build:
        runner.step("Images, built in minikube")
        _build(wanted, runner)
    _Deployment(documents, namespace, runner).run()


class _Deployment:
    def __init__(self, documents: list[Document], namespace: str, runner: Runner) -> None:
        self._documents = documents
        self._namespace = namespace
        self._runner = runner

    def run(self) -> None:
        run = self._runner
        run.step("Namespace and settings")
        self._apply(self._of("Namespace"))
        self._apply(self._of("ServiceAccount", "ConfigMap", "NetworkPolicy"))
        run.step("Secrets")
        credentials.provide(self._documents, self._namespace, run)
        self._stores()
        self._migrate()
        self._broker()
        run.step("SinkBinding: ready only once there are functions, so nobody waits for it")
        self._apply(self._of("SinkBinding"))
        self._functions()
        run.step("Triggers and sources")
        self._apply(self._of(*_TRIGGERS))
        for kind in ("Broker", "SinkBinding", *_TRIGGERS):
            self._ready(kind.lower(), self._of(kind))
        if not self._of("RabbitmqCluster"):
            run.step("Consumer timeout of your RabbitMQ")
            patience.extend(self._namespace, run)
        self._domain()
        self._tell()

    def _stores(self) -> None:
        stores = [*self._of("Service", group="v1"), *self._of("StatefulSet", "Deployment")]
        clusters = self._of("RabbitmqCluster")
        if not stores and not clusters:
            return
        self._runner.step("Data stores and RabbitMQ")
        self._apply([*stores, *clusters])
        for document in of_kind(stores, "StatefulSet", "Deployment"):
            what = f"{document['kind'].lower()}/{name_of(document)}"
            self._kubectl("rollout", "status", what, "--timeout=600s", why=("describe", what))
        for document in clusters:
            what = f"rabbitmqcluster/{name_of(document)}"
            why = ("describe", what)
            self._kubectl("wait", what, "--for=condition=AllReplicasReady", "--timeout=600s", why=why)

    def _migrate(self) -> None:
        self._runner.step("The database's schema")
        [job] = self._of("Job")
        what = f"job/{name_of(job)}"
        # A Job cannot be changed.
        self._kubectl("delete", what, "--ignore-not-found")
        self._apply([job])
        self._kubectl("wait", what, "--for=condition=Complete", "--timeout=660s", why=("logs", what))

    def _broker(self) -> None:
        self._runner.step("Broker")
        self._apply([*self._of("RabbitmqBrokerConfig"), *self._of("Broker")])
        # Ready it is only when its dead-letter sink is there; the functions need no more than its address.
        for broker in self._of("Broker"):
            what = f"broker/{name_of(broker)}"
            self._kubectl("wait", what, "--for=condition=Addressable", "--timeout=600s", why=("describe", what))

    def _functions(self) -> None:
        self._runner.step("Functions")
        services = self._of("Service", group="serving.knative.dev")
        with tempfile.TemporaryDirectory(prefix="video2mp3-services-") as folder:
            for service in services:
                file = Path(folder) / f"{name_of(service)}.yaml"
                file.write_text(yaml.safe_dump(service))
                # `kn` takes one Service from one file.
                command = ("kn", "service", "apply", name_of(service), "-n", self._namespace, "-f", str(file))
                self._runner.run(*command, "--no-wait")
        self._ready(_KSVC, services)

    def _domain(self) -> None:
        domain = self._of(*_DOMAIN)
        if domain:
            self._runner.step("Host name")
            self._apply(domain)
            try:
                self._ready("domainmapping", of_kind(domain, "DomainMapping"))
            except DeployError as error:
                # A certificate may take longer, and depends on the world outside.
                self._runner.say(f"The host name is not ready yet.\n{error}")

    def _tell(self) -> None:
        [settings] = [each for each in self._of("ConfigMap") if name_of(each).startswith("settings-")]
        for line in _walk(settings["data"]["PUBLIC_URL"], self._namespace, self._documents):
            self._runner.say(line)

    def _of(self, *kinds: str, group: str = "") -> list[Document]:
        return of_kind(self._documents, *kinds, group=group)

    def _apply(self, documents: Sequence[Document]) -> None:
        if documents:
            given = yaml.safe_dump_all(documents)
            self._runner.run("kubectl", "apply", "-f", "-", given=given, shown=_names(documents))

    def _ready(self, kind: str, documents: Iterable[Document]) -> None:
        names = [f"{kind}/{name_of(document)}" for document in documents]
        if names:
            self._kubectl("wait", *names, "--for=condition=Ready", "--timeout=600s", why=("describe", *names[:1]))

    def _kubectl(self, *words: str, why: Sequence[str] = ()) -> str:
        begin = ("kubectl", "-n", self._namespace)
        return self._runner.run(*begin, *words, why=(*begin, *why) if why else ())


def remove(wanted: Wanted, runner: Runner, *, data: bool) -> None:
    """Take an overlay off the cluster.

    Args:
        wanted: what was deployed.
        runner: runs, or only tells.
        data: whether the namespace goes too, with every Secret and all that was stored in it.

    Raises:
        DeployError: it cannot go on.
    """
    documents = render(wanted)
    namespace = namespace_of(documents)
    gone = [document for document in reversed(documents) if document["kind"] != "Namespace"]
    events = [*of_kind(gone, *_TRIGGERS, "Broker"), *of_kind(gone, "SinkBinding")]
    begin = ("kubectl", "-n", namespace)
    runner.step("Triggers and broker")
    runner.run(
        "kubectl", "delete", "--ignore-not-found", "-f", "-", given=yaml.safe_dump_all(events), shown=_names(events)
    )
    # Their queues are taken away by an operator, which needs RabbitMQ and its Secret for that.
    topology = ",".join(f"{kind}.rabbitmq.com" for kind in ("bindings", "queues", "exchanges", "policies"))
    runner.run(*begin, "wait", topology, "--all", "--for=delete", "--timeout=120s", why=(*begin, "get", topology))
    runner.step("Everything else but Secrets and volumes")
    rest = [document for document in gone if document not in events]
    runner.run("kubectl", "delete", "--ignore-not-found", "-f", "-", given=yaml.safe_dump_all(rest), shown=_names(rest))
    # Settings that were replaced by later ones stand under names of their own.
    ours = ("-l", "app.kubernetes.io/part-of=video2mp3")
    runner.run("kubectl", "-n", namespace, "delete", "configmaps", "--ignore-not-found", *ours)
    if data:
        runner.step("The namespace, with Secrets and volumes")
        runner.run("kubectl", "delete", "namespace", namespace, "--ignore-not-found")


def _names(documents: Iterable[Document]) -> str:
    return ", ".join(f"{document['kind']} {name_of(document)}" for document in documents)


def _build(wanted: Wanted, runner: Runner) -> None:
    there = runner.ask("minikube", "image", "ls")
    for target in IMAGES:
        image = wanted.image(target)
        if image in there:
            runner.say(f"{image} is there already.")
            continue
        options = ("-t", image, "-f", "knative/Dockerfile", f"--build-opt=target={target}")
        runner.run("minikube", "image", "build", *options, str(ROOT))


def _walk(url: str, namespace: str, documents: Sequence[Document]) -> Iterable[str]:
    yield "\nIt is there. A walk:"
    if url.endswith(":8080"):
        yield "  kubectl -n kourier-system port-forward service/kourier 8080:80 &"
    host = url.partition("://")[2].partition(":")[0]
    yield f"  # {host} must lead to Kourier; with the port-forward: echo 127.0.0.1 {host} | sudo tee -a /etc/hosts"
    yield f"  URL={url}"
    yield "  curl -d email=you@example.com -d 'password=a long sentence' $URL/register"
    yield "  TOKEN=$(curl -X POST -u 'you@example.com:a long sentence' $URL/login)"
    yield '  curl -X POST -F "file=@./video.mp4" -H "Authorization: Bearer $TOKEN" $URL/upload'
    yield '  curl --output converted.mp3 -H "Authorization: Bearer $TOKEN" "$URL/download?fid=<id>"'
    if of_kind(documents, "RabbitmqCluster"):
        yield "RabbitMQ's page, on http://localhost:15672:"
        yield f"  kubectl -n {namespace} port-forward service/rabbitmq 15672 &"
        for key in ("username", "password"):
            path = f"jsonpath='{{.data.{key}}}'"
            yield f"  kubectl -n {namespace} get secret rabbitmq-default-user -o {path} | base64 -d; echo   # {key}"
    if any(name_of(document) == "mailpit" for document in documents):
        yield f"Mails, on http://localhost:8025:  kubectl -n {namespace} port-forward service/mailpit 8025 &"
