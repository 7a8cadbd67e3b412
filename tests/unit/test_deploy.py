"""What `knative/deploy` decides by what it finds on the cluster, which here is a list of answers."""

import base64
import json
from collections.abc import Sequence
from io import StringIO
from typing import Any

import pytest
import yaml
from rich.console import Console

from local.deploy import credentials, deploying, hostname, patience, prerequisites, runner
from local.deploy.runner import DeployError, Document, Runner, condition

NAMESPACE = "video2mp3"


class Cluster(Runner):
    """Answers questions from what it is given, and notes what it is asked to change."""

    def __init__(self, secrets: dict[str, dict[str, str]] | None = None, **objects: Sequence[Document]) -> None:
        self.told = StringIO()
        super().__init__(Console(file=self.told, width=500), dry_run=False)
        self.secrets = secrets or {}
        #: By the word that `kubectl get` is given, without its group.
        self.objects = {name: list(found) for name, found in objects.items()}
        self.changes: list[tuple[str, ...]] = []
        self.given: list[Any] = []

    def _run(self, command: Sequence[str], given: str | None, _why: Sequence[str]) -> str:
        words = tuple(command)
        if "get" in words:
            return self._answer(words[words.index("get") + 1 :])
        self.changes.append(words)
        if given:
            document = yaml.safe_load(given)
            self.given.append(document)
            if document["kind"] == "Secret":
                self.secrets[document["metadata"]["name"]] = document["stringData"]
        return ""

    def _answer(self, asked: tuple[str, ...]) -> str:
        kind, *names = asked[: asked.index("-o")]
        if kind == "secrets":
            return "".join(f"secret/{name}\n" for name in self.secrets)
        if kind == "secret":
            values = self.secrets[names[0]]
            data = {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
            return json.dumps({"kind": "Secret", "data": data})
        kind, _, name = kind.partition("/")
        names += [name] if name else []
        found = self.objects.get(kind.partition(".")[0].replace(",", "_"), [])
        chosen = [each for each in found if not names or each["metadata"]["name"] in names]
        if "name" in asked[asked.index("-o") + 1 :]:
            return "".join(f"x/{each['metadata']['name']}\n" for each in chosen)
        return json.dumps({"kind": "List", "items": chosen})


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is not there now will come."""
    for module, name in ((runner, "_LOOK_SECONDS"), (patience, "_READY_SECONDS"), (deploying, "_READY_SECONDS")):
        monkeypatch.setattr(module, name, 0.0)


def wants(*secrets: str, stores: Sequence[str] = ()) -> list[Document]:
    """Documents that refer to these Secrets, and these servers."""
    servers = [{"kind": "StatefulSet", "apiVersion": "apps/v1", "metadata": {"name": name}} for name in stores]
    functions = {"kind": "Service", "apiVersion": "serving.knative.dev/v1", "metadata": {"name": "x"}, "spec": {}}
    functions["spec"] = {"envFrom": [{"secretRef": {"name": name}} for name in secrets]}
    return [functions, *servers]


EVERYTHING = wants(
    *("token-key", "token-jwks", "link-key", "database", "blobs", "mysql", "mongodb"), stores=("mysql", "mongodb")
)


def test_secrets_are_made_once() -> None:
    """Those of servers agree with what functions are told, and a second run changes nothing."""
    cluster = Cluster()
    credentials.provide(EVERYTHING, NAMESPACE, cluster)
    made = cluster.secrets
    assert made.keys() == {"token-key", "token-jwks", "link-key", "database", "blobs", "mysql", "mongodb"}
    assert f":{made['mysql']['password']}@mysql:3306/" in made["database"]["DATABASE_URL"]
    assert f":{made['mongodb']['password']}@mongodb:27017/" in made["blobs"]["BLOBS_URL"]
    assert "PRIVATE KEY" in made["token-key"]["TOKEN_PRIVATE_KEY"]
    assert json.loads(made["token-jwks"]["TOKEN_JWKS"])["keys"]
    before, cluster.changes = json.dumps(made), []
    credentials.provide(EVERYTHING, NAMESPACE, cluster)
    assert (cluster.changes, json.dumps(cluster.secrets)) == ([], before)
    for values in made.values():
        assert all(value not in cluster.told.getvalue() for value in values.values())


def test_an_interrupted_run_is_taken_up() -> None:
    """A server's password that is there already is what functions are told."""
    cluster = Cluster({"mysql": {"password": "known"}})
    credentials.provide(EVERYTHING, NAMESPACE, cluster)
    assert ":known@mysql" in cluster.secrets["database"]["DATABASE_URL"]
    assert cluster.secrets["mysql"] == {"password": "known"}


@pytest.mark.parametrize("there", ["token-jwks", "database", "blobs"])
def test_halves_are_refused(there: str) -> None:
    """Where one of two that belong together is gone, a new one would lock everybody out."""
    cluster = Cluster({there: {}})
    with pytest.raises(DeployError, match=there):
        credentials.provide(EVERYTHING, NAMESPACE, cluster)


def test_a_run_that_broke_off_between_the_keys_is_taken_up() -> None:
    """The public half follows from the private one."""
    first = Cluster()
    credentials.provide(EVERYTHING, NAMESPACE, first)
    jwks = first.secrets.pop("token-jwks")
    credentials.provide(EVERYTHING, NAMESPACE, first)
    assert first.secrets["token-jwks"] == jwks


def test_a_secret_without_its_key_is_named() -> None:
    """A sentence, not a traceback."""
    with pytest.raises(DeployError, match="The Secret mysql has no password"):
        credentials.provide(EVERYTHING, NAMESPACE, Cluster({"mysql": {}}))


THEIRS = {
    "database": {"DATABASE_URL": "x"},
    "blobs": {"BLOBS_URL": "x"},
    "mail": {"MAIL_URL": "x"},
    "rabbitmq": {"uri": "x", "username": "x", "password": "x"},
}


def test_what_only_a_person_can_make() -> None:
    """All of it is asked for at once, with the commands that make it; what is there has what it needs."""
    documents = wants(*THEIRS)
    with pytest.raises(DeployError) as caught:
        credentials.provide(documents, NAMESPACE, Cluster({"mail": {"WRONG": "x"}, "rabbitmq": {"uri": "x"}}))
    said = str(caught.value).splitlines()
    begin = f"kubectl -n {NAMESPACE} create secret generic"
    assert said[0].startswith(f"The Secret blobs is missing: {begin} blobs --from-literal=BLOBS_URL=")
    assert said[1].startswith(f"The Secret database is missing: {begin} database --from-literal=DATABASE_URL=")
    assert said[2].startswith("The Secret mail has no MAIL_URL: ")
    assert said[3].startswith("The Secret rabbitmq has no password and no username: ")
    cluster = Cluster(dict(THEIRS))
    credentials.provide(documents, NAMESPACE, cluster)
    # The topology operator sees no other Secrets.
    label = ("kubectl", "-n", NAMESPACE, "label", "secret", "rabbitmq", "rabbitmq.com/topology-operator=true")
    assert cluster.changes == [(*label, "--overwrite")]


def policy(name: str, owner: str, *, ready: str = "True") -> Document:
    """A policy as the broker's controllers make them."""
    return {
        "apiVersion": "rabbitmq.com/v1beta1",
        "kind": "Policy",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "resourceVersion": "7",
            "ownerReferences": [{"kind": owner, "name": "convert", "uid": "1"}],
        },
        "spec": {
            "name": name,
            "pattern": "^video2mp3\\.convert\\.1$",
            "priority": 1,
            "applyTo": "queues",
            "definition": {"dead-letter-exchange": "t.video2mp3.convert.dlx.1"},
            "rabbitmqClusterReference": {"connectionSecret": {"name": "rabbitmq"}},
        },
        "status": {"conditions": [{"type": "Ready", "status": ready, "reason": "Why", "message": "words"}]},
    }


def test_a_longer_timeout_keeps_the_dead_letters() -> None:
    """The policy that RabbitMQ now follows names the trigger's dead-letter exchange as well."""
    cluster = Cluster(policies=[policy("t", "Trigger"), policy("b", "Broker"), policy("t-patience", "Trigger")])
    patience.extend(NAMESPACE, cluster)
    [given] = cluster.given
    [made] = given["items"]
    assert made["metadata"].keys() == {"name", "namespace", "ownerReferences"}
    assert (made["metadata"]["name"], made["spec"]["name"], made["spec"]["priority"]) == ("t-patience", "t-patience", 2)
    assert made["spec"]["definition"] == {
        "dead-letter-exchange": "t.video2mp3.convert.dlx.1",
        "consumer-timeout": 604_800_000,
    }
    assert made["spec"]["pattern"] == "^video2mp3\\.convert\\.1$"
    assert len(cluster.changes) == 1


def test_a_policy_that_was_good_is_kept_while_rabbitmq_is_away() -> None:
    """And what was said of it is told."""
    cluster = Cluster(policies=[policy("t", "Trigger"), policy("t-patience", "Trigger", ready="False")])
    patience.extend(NAMESPACE, cluster)
    assert [change[3] for change in cluster.changes] == ["-"]
    assert "t-patience: Why: words" in cluster.told.getvalue()
    assert "consumer_timeout = 604800000" in cluster.told.getvalue()


class Refusing(Cluster):
    """A RabbitMQ that takes no new policy."""

    def _run(self, command: Sequence[str], given: str | None, _why: Sequence[str]) -> str:
        if given:
            status = policy("", "Trigger", ready="False")["status"]
            self.objects["policies"] += [{**each, "status": status} for each in json.loads(given)["items"]]
        return super()._run(command, given, _why)


def test_a_rabbitmq_that_takes_no_timeout_by_policy() -> None:
    """Is left as it was, and its operator is told what to set."""
    cluster = Refusing(policies=[policy("t", "Trigger")])
    patience.extend(NAMESPACE, cluster)
    kubectl = ("kubectl", "-n", NAMESPACE)
    assert cluster.changes[-1] == (*kubectl, "delete", "policies.rabbitmq.com", "t-patience", "--ignore-not-found")
    assert "consumer_timeout = 604800000" in cluster.told.getvalue()


def test_no_policies_yet() -> None:
    """Nothing is done without a word."""
    cluster = Cluster()
    patience.extend(NAMESPACE, cluster)
    assert "no policies of triggers yet" in cluster.told.getvalue()


def claim(name: str, namespace: str) -> Document:
    """A name that belongs to a namespace."""
    return {"metadata": {"name": name}, "spec": {"namespace": namespace}}


def test_a_name_of_another_namespace_is_not_taken() -> None:
    """Its site would be gone."""
    documents = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "n/v1", "kind": "ClusterDomainClaim", "metadata": {"name": "a.example"}},
    ]
    hostname.check(documents, Cluster(clusterdomainclaims=[claim("a.example", NAMESPACE), claim("b", "other")]))
    with pytest.raises(DeployError, match=r"a\.example belongs to namespace other; take another by --url"):
        hostname.check(documents, Cluster(clusterdomainclaims=[claim("a.example", "other")]))


def test_names_are_given_up_with_the_namespace() -> None:
    """All that lead to the gateway there, and no other's."""
    mappings = [
        {"metadata": {"name": name}, "spec": {"ref": {"name": ref}}} for name, ref in (("a", "gateway"), ("b", "x"))
    ]
    definitions = [{"metadata": {"name": name}} for name in (hostname._MAPPINGS, hostname._CLAIMS)]
    cluster = Cluster(
        domainmappings=mappings,
        clusterdomainclaims=[claim("a", NAMESPACE), claim("c", "other")],
        customresourcedefinitions=definitions,
    )
    hostname.remove(NAMESPACE, cluster)
    assert [change[-3:-1] for change in cluster.changes] == [
        ("domainmappings.serving.knative.dev", "a"),
        ("clusterdomainclaims.networking.internal.knative.dev", "a"),
    ]


def test_an_installation_that_broke_off_is_gone_on_with() -> None:
    """What is there in part is applied again; what is whole is left alone, and waited for."""
    cluster = Cluster(deployment=[{"metadata": {"name": "webhook"}}, {"metadata": {"name": "cert-manager-webhook"}}])
    prerequisites.install(cluster, issuer_email="")
    applied = [change[-1] for change in cluster.changes if "apply" in change]
    assert not [file for file in applied if "/knative/serving/" in file or "cert-manager.yaml" in file]
    assert len(applied) == sum(len(each.files) for each in prerequisites.PREREQUISITES) - 3
    waits = [change for change in cluster.changes if "wait" in change]
    assert len(waits) == len(prerequisites.PREREQUISITES)


def test_a_cluster_without_the_prerequisites() -> None:
    """Each is named, before anything is begun."""
    cluster = Cluster(customresourcedefinitions=[{"metadata": {"name": "services.serving.knative.dev"}}])
    documents = [
        {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "x"}},
        {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": "x"}},
    ]
    with pytest.raises(DeployError, match="lacks Knative Eventing; RabbitMQ messaging topology operator"):
        prerequisites.check(documents, cluster)
    assert cluster.changes == []


def test_servers_of_another_overlay() -> None:
    """Functions would go on using them, since the Secrets lead there."""
    documents = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}]
    cluster = Cluster(statefulsets_deployments=[{"metadata": {"name": "mysql"}}, {"metadata": {"name": "recover-1"}}])
    with pytest.raises(DeployError, match="runs mysql, which this overlay does not have"):
        deploying._Deployment(documents, cluster).run()


def job(**conditions: str) -> Document:
    """The migration, as the cluster tells of it."""
    found = [{"type": name, "status": "True", "reason": reason} for name, reason in conditions.items()]
    return {"metadata": {"name": "migrate"}, "status": {"conditions": found}}


def test_a_failed_migration_is_told_at_once() -> None:
    """With the commands that tell why, also when its pods are gone."""
    documents = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate"}},
    ]
    deploying._Deployment(documents, Cluster(job=[job(Complete="Done")]))._migrate()
    cluster = Cluster(job=[job(Failed="DeadlineExceeded")])
    with pytest.raises(DeployError, match=r"DeadlineExceeded.*logs job/migrate; kubectl .* describe job/migrate"):
        deploying._Deployment(documents, cluster)._migrate()


def test_what_never_becomes_ready_is_named() -> None:
    """With its reason, and the command for the one that is not ready rather than for any."""
    services = [
        {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": n}} for n in ("a", "b")
    ]
    documents = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, *services]
    good = {"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    bad = {"metadata": {"name": "b"}, "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "No"}]}}
    with pytest.raises(DeployError, match=r"b: False No\nTo see why: kubectl -n video2mp3 describe ksvc b"):
        deploying._Deployment(documents, Cluster(ksvc=[good, bad]))._functions()


def test_a_condition_of_yesterday_counts_for_nothing() -> None:
    """Ready is what has not been looked at since it was changed, but only as it was before."""
    ready = {"type": "Ready", "status": "True"}
    for seen, status in ((2, "True"), (1, "Unknown")):
        changed = {"metadata": {"generation": 2}, "status": {"observedGeneration": seen, "conditions": [ready]}}
        assert condition(changed, "Ready")[0] == status
    assert condition({"metadata": {"generation": 2}, "status": {"conditions": [ready]}}, "Ready")[0] == "True"
    assert condition({"metadata": {"generation": 2}}, "Ready")[0] == "Unknown"


def test_one_context_for_all() -> None:
    """Another terminal that chooses another context does not split a run over two clusters."""
    told = StringIO()
    chosen = Runner(Console(file=told, width=500), dry_run=True, context="prod")
    chosen.run("kubectl", "apply", "-f", "-")
    chosen.run("kn", "service", "list")
    chosen.run("minikube", "image", "ls")
    assert [line.split("$ ")[1].split("  ")[0] for line in told.getvalue().splitlines()] == [
        *("kubectl --context prod apply -f -", "kn --context prod service list", "minikube image ls")
    ]


def test_a_programs_words_are_told() -> None:
    """What it warns of, and why it failed, with the command that tells more."""
    told = StringIO()
    real = Runner(Console(file=told, width=500), dry_run=False)
    assert real.ask("sh", "-c", "echo out; echo Warning: careful >&2") == "out\n"
    assert "Warning: careful" in told.getvalue()
    with pytest.raises(DeployError, match=r"(?s)This failed: sh -c .*broken\nTo see why: sh -c why"):
        real.run("sh", "-c", "echo broken >&2; exit 3", why=("sh", "-c", "why"))
    with pytest.raises(DeployError, match="no-such-program is not installed"):
        real.ask("no-such-program")
