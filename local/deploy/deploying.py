"""Applying everything in the one order in which each part finds what it needs."""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import yaml

from local.deploy import credentials, hostname, patience, prerequisites
from local.deploy.minikube import Minikube
from local.deploy.rendering import Wanted, name_of, namespace_of, of_kind, render
from local.deploy.runner import DeployError, Document, Runner, condition

_TRIGGERS: Final = ("Trigger", "PingSource", "RabbitmqSource")
_STORES: Final = ("StatefulSet", "Deployment")
#: Images are pulled, volumes are made, functions start for the first time.
_READY_SECONDS: Final = 600.0
_SINK_SECONDS: Final = 60.0


def deploy(wanted: Wanted, runner: Runner, *, minikube: Minikube | None) -> None:
    """Bring an overlay onto the cluster, or what is there of it up to date.

    Args:
        wanted: what is to be deployed.
        runner: runs, or only tells.
        minikube: where the images are made; None if they are somewhere already.

    Raises:
        DeployError: it cannot go on; what was applied stays, and the next run goes on from there.
    """
    known = prerequisites.knows_clients(runner)
    documents = render(replace(wanted, knows_clients=known))
    runner.step("Prerequisites")
    prerequisites.check(documents, runner)
    if not known:
        runner.say("Kourier does not tell who a client is (knative/install sets that up), so requests are limited")
        runner.say("by no address. Wrong passwords are limited for each account all the same.")
    hostname.check(documents, runner)
    if minikube is not None:
        runner.step("Images, built in minikube")
        minikube.build(wanted, runner)
    _Deployment(documents, runner).run()


class _Deployment:
    def __init__(self, documents: list[Document], runner: Runner) -> None:
        self._documents = documents
        self._namespace = namespace_of(documents)
        self._runner = runner

    def run(self) -> None:
        run = self._runner
        run.step("Namespace and settings")
        self._apply(self._of("Namespace"))
        self._refuse_other_stores()
        self._apply(self._of("ServiceAccount", "ConfigMap", "NetworkPolicy"))
        run.step("Secrets")
        credentials.provide(self._documents, self._namespace, run)
        self._stores()
        self._migrate()
        run.step("Broker")
        self._apply(self._of("RabbitmqBrokerConfig", "Broker"))
        # Ready it is only when its dead-letter sink is there; the functions need no more than its address.
        self._ready("broker", self._of("Broker"), "Addressable")
        run.step("SinkBinding: ready only once there are functions")
        self._bind()
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

    def _refuse_other_stores(self) -> None:
        """See that no server is left here of an overlay with others: functions would go on using it.

        Raises:
            DeployError: there is one.
        """
        ours = {name_of(each) for each in self._of(*_STORES)}
        found = {name_of(each) for each in self._runner.items(*self._kubectl, "get", "statefulsets,deployments")}
        left = sorted((found & credentials.SERVERS.keys()) - ours)
        if left:
            raise DeployError(
                f"In namespace {self._namespace} runs {' and '.join(left)}, which this overlay does not have, and the"
                " Secrets there lead to it. Remove the overlay that it is of (knative/remove --data), or take another"
                " namespace."
            )

    def _stores(self) -> None:
        stores = [*self._of("Service", group="v1"), *self._of(*_STORES)]
        clusters = self._of("RabbitmqCluster")
        if not stores and not clusters:
            return
        self._runner.step("Data stores and RabbitMQ")
        self._apply([*stores, *clusters])
        for document in of_kind(stores, *_STORES):
            what = f"{document['kind'].lower()}/{name_of(document)}"
            why = (*self._kubectl, "describe", what)
            self._runner.run(*self._kubectl, "rollout", "status", what, "--timeout=600s", why=why)
        self._ready("rabbitmqcluster", clusters, "AllReplicasReady")

    def _migrate(self) -> None:
        self._runner.step("The database's schema")
        [job] = self._of("Job")
        what = f"job/{name_of(job)}"
        # A Job cannot be changed, and one that still works must not work beside the next.
        self._runner.run(*self._kubectl, "delete", what, "--ignore-not-found", "--cascade=foreground", "--timeout=120s")
        self._apply([job])

        def left() -> dict[str, str]:
            [found] = self._runner.items(*self._kubectl, "get", what)
            if condition(found, "Complete")[0] == "True":
                return {}
            status, words = condition(found, "Failed")
            if status == "True":
                logs, describe = ((*self._kubectl, verb, what) for verb in ("logs", "describe"))
                raise DeployError(f"The migration failed ({words}). To see why: {' '.join(logs)}; {' '.join(describe)}")
            return {what: "is running"}

        why = (*self._kubectl, "describe", "pods", "-l", f"job-name={name_of(job)}")
        self._runner.wait("the migration", left, seconds=_READY_SECONDS, why=lambda _: why)

    def _bind(self) -> None:
        bindings = self._of("SinkBinding")
        self._apply(bindings)

        def left() -> dict[str, str]:
            found = self._runner.items(*self._kubectl, "get", "sinkbinding", *map(name_of, bindings))
            return {name_of(each): "has no address" for each in found if not each.get("status", {}).get("sinkUri")}

        try:
            # So that the functions' first revisions know it.
            why = (*self._kubectl, "describe", "sinkbinding")
            self._runner.wait("the broker's address", left, seconds=_SINK_SECONDS, why=lambda _: why)
        except DeployError as error:
            self._runner.say(f"{error}\nThe functions will learn of it by a second revision.")

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
        self._ready("ksvc", services)

    def _domain(self) -> None:
        domain = self._of(*hostname.KINDS)
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

    @property
    def _kubectl(self) -> tuple[str, ...]:
        return ("kubectl", "-n", self._namespace)

    def _of(self, *kinds: str, group: str = "") -> list[Document]:
        return of_kind(self._documents, *kinds, group=group)

    def _apply(self, documents: Sequence[Document]) -> None:
        if documents:
            given = yaml.safe_dump_all(documents)
            self._runner.run("kubectl", "apply", "-f", "-", given=given, shown=_names(documents))

    def _ready(self, kind: str, documents: Iterable[Document], type_: str = "Ready") -> None:
        names = [name_of(document) for document in documents]

        def left() -> dict[str, str]:
            states = {
                name_of(each): condition(each, type_)
                for each in self._runner.items(*self._kubectl, "get", kind, *names)
            }
            return {name: f"{status} {words}" for name, (status, words) in states.items() if status != "True"}

        if names:
            what = f"{kind} {', '.join(names)} ({type_})"
            why = (*self._kubectl, "describe", kind)
            self._runner.wait(what, left, seconds=_READY_SECONDS, why=lambda name: (*why, name))


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
    kubectl = ("kubectl", "-n", namespace)
    # A cluster that never had all of the prerequisites knows not all of the kinds.
    gone = prerequisites.known(
        [document for document in reversed(documents) if document["kind"] not in ("Namespace", *hostname.KINDS)], runner
    )
    runner.step("Host name, triggers and broker")
    hostname.remove(namespace, runner)
    events = of_kind(gone, *_TRIGGERS, "Broker", "SinkBinding")
    topology = _topology(namespace, runner)
    _delete(events, namespace, runner)

    def left() -> dict[str, str]:
        return dict.fromkeys(_topology(namespace, runner) & topology, "is still there")

    try:
        # The operator that takes them away needs RabbitMQ and its Secret for that.
        runner.wait("queues and exchanges to go", left, seconds=120, why=lambda name: (*kubectl, "describe", name))
    except DeployError as error:
        runner.say(f"{error}\nWhat is left of them may keep the namespace from going (docs/debug.md).")
    runner.step("Everything else but Secrets and volumes")
    _delete([document for document in gone if document not in events], namespace, runner)
    # Settings that were replaced by later ones stand under names of their own.
    ours = ("-l", "app.kubernetes.io/part-of=video2mp3")
    runner.run(*kubectl, "delete", "configmaps", "--ignore-not-found", *ours)
    if data:
        runner.step("The namespace, with Secrets and volumes")
        runner.run("kubectl", "delete", "namespace", namespace, "--ignore-not-found", "--timeout=600s")


def _delete(documents: Sequence[Document], namespace: str, runner: Runner) -> None:
    if documents:
        given = yaml.safe_dump_all(documents)
        why = ("kubectl", "-n", namespace, "get", ",".join(sorted({each["kind"].lower() for each in documents})))
        command = ("kubectl", "delete", "--ignore-not-found", "--timeout=300s", "-f", "-")
        runner.run(*command, given=given, shown=_names(documents), why=why)


def _topology(namespace: str, runner: Runner) -> set[str]:
    """What the broker has in RabbitMQ, by the objects that stand for it; those of others are not ours to wait for."""
    found = set()
    for kind in ("bindings", "queues", "exchanges", "policies"):
        crd = f"{kind}.rabbitmq.com"
        if crd in prerequisites.kinds(runner):
            for each in runner.items("kubectl", "-n", namespace, "get", crd):
                if any(owner["kind"] in _OWNERS for owner in each["metadata"].get("ownerReferences", ())):
                    found.add(f"{crd}/{name_of(each)}")
    return found


_OWNERS: Final = ("Broker", "Trigger", "RabbitmqSource")


def _names(documents: Iterable[Document]) -> str:
    return ", ".join(f"{document['kind']} {name_of(document)}" for document in documents)


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
