"""What `knative/deploy` decides by what it finds on the cluster, which here is a list of answers."""

import base64
import json
from collections.abc import Sequence
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from local.deploy import credentials, patience
from local.deploy.rendering import Document
from local.deploy.runner import DeployError, Runner

NAMESPACE = "video2mp3"


class Cluster(Runner):
    """Answers questions from what it is given, and notes what it is asked to change."""

    def __init__(self, secrets: dict[str, dict[str, str]] | None = None, policies: Sequence[Document] = ()) -> None:
        self.told = StringIO()
        super().__init__(Console(file=self.told, width=500), dry_run=False)
        self.secrets = secrets or {}
        self.policies = policies
        self.refused: tuple[str, ...] = ()
        self.changes: list[tuple[str, ...]] = []
        self.given: list[Any] = []

    def _run(self, command: Sequence[str], given: str | None, _why: Sequence[str]) -> str:
        words = tuple(command)
        if self.refused and set(self.refused) <= set(words):
            raise DeployError("refused")
        if "get" in words and "secrets" in words:
            return "".join(f"secret/{name}\n" for name in self.secrets)
        if "get" in words and "secret" in words:
            values = self.secrets[words[words.index("secret") + 1]]
            return json.dumps({"data": {name: base64.b64encode(v.encode()).decode() for name, v in values.items()}})
        if "get" in words:
            return json.dumps({"items": list(self.policies)})
        self.changes.append(words)
        if given:
            document = json.loads(given)
            self.given.append(document)
            if document["kind"] == "Secret":
                self.secrets[document["metadata"]["name"]] = document["stringData"]
        return ""


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


@pytest.mark.parametrize("there", ["token-key", "token-jwks", "database", "blobs"])
def test_halves_are_refused(there: str) -> None:
    """Where one of two that belong together is gone, a new one would lock everybody out."""
    cluster = Cluster({there: {}})
    with pytest.raises(DeployError, match=there):
        credentials.provide(EVERYTHING, NAMESPACE, cluster)


@pytest.mark.parametrize("name", ["database", "blobs", "mail", "rabbitmq"])
def test_what_only_a_person_can_make(name: str) -> None:
    """Is asked for with the command that makes it."""
    documents = wants("database", "blobs", "mail", "rabbitmq")
    there: dict[str, dict[str, str]] = {each: {} for each in ("database", "blobs", "mail", "rabbitmq") if each != name}
    with pytest.raises(DeployError, match=f"kubectl -n {NAMESPACE} create secret generic {name} --from-literal="):
        credentials.provide(documents, NAMESPACE, Cluster(there))
    cluster = Cluster({**there, name: {}})
    credentials.provide(documents, NAMESPACE, cluster)
    # The topology operator sees no other Secrets.
    label = ("kubectl", "-n", NAMESPACE, "label", "secret", "rabbitmq", "rabbitmq.com/topology-operator=true")
    assert cluster.changes == [(*label, "--overwrite")]


def policy(name: str, owner: str) -> Document:
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
        "status": {},
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


def test_a_rabbitmq_that_takes_no_timeout_by_policy() -> None:
    """Is left as it was, and its operator is told what to set."""
    cluster = Cluster(policies=[policy("t", "Trigger")])
    cluster.refused = ("wait",)
    patience.extend(NAMESPACE, cluster)
    assert cluster.changes[-1][3:] == ("delete", "policies.rabbitmq.com/t-patience", "--ignore-not-found")
    assert "consumer_timeout = 604800000" in cluster.told.getvalue()
