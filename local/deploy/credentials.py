"""The Secrets: those that are ours to make get random values, once; those that name your servers have to be there."""

import base64
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Final

from functions.auth.issuing import Issuer
from local.deploy.rendering import name_of, of_kind, secrets_of
from local.deploy.runner import DeployError, Document, Runner
from local.server.state import new_secrets

#: Keys of our own: which settings each Secret holds.
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "token-key": ("TOKEN_PRIVATE_KEY",),
    "token-jwks": ("TOKEN_JWKS",),
    "link-key": ("LINK_KEY",),
}
#: Servers in the namespace: the Secret that tells functions how to reach each, with its server's password in it.
SERVERS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "mysql": (
        "database",
        {"DATABASE_URL": "mysql+pymysql://video2mp3:{password}@mysql:3306/video2mp3?charset=utf8mb4"},
    ),
    "postgres": ("database", {"DATABASE_URL": "postgresql+psycopg://video2mp3:{password}@postgres:5432/video2mp3"}),
    "mongodb": ("blobs", {"BLOBS_URL": "mongodb://video2mp3:{password}@mongodb:27017/?authSource=admin"}),
    "minio": (
        "blobs",
        {
            "BLOBS_URL": "s3://video2mp3",
            "AWS_ENDPOINT_URL": "http://minio:9000",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "video2mp3",
            "AWS_SECRET_ACCESS_KEY": "{password}",
        },
    ),
    "mailpit": ("mail", {"MAIL_URL": "smtp://mailpit:1025?starttls=never"}),
}
#: How a person makes the Secrets of servers elsewhere; docs/deploy.md has the same lines.
BY_HAND: Final[Mapping[str, str]] = {
    "database": "DATABASE_URL='mysql+pymysql://USER:PASSWORD@HOST:3306/video2mp3?charset=utf8mb4'",
    "blobs": "BLOBS_URL='mongodb://USER:PASSWORD@HOST:27017/?authSource=admin'",
    "mail": "MAIL_URL='smtp://USER:PASSWORD@HOST'",
    "rabbitmq": "uri=http://HOST:15672 --from-literal=username=USER --from-literal=password=PASSWORD",
    "bridge": "BRIDGE_AMQP_URL='amqp://USER:PASSWORD@HOST:5672/%2F'",
    "bridge-rabbitmq": "uri=http://HOST:15672 --from-literal=username=USER --from-literal=password=PASSWORD",
}
#: The topology operator sees no other Secrets.
_SEEN: Final = "rabbitmq.com/topology-operator=true"


def provide(documents: Iterable[Document], namespace: str, runner: Runner) -> None:
    """See to it that every Secret that the documents ask for is there; none that is there is changed.

    Raises:
        DeployError: one that only a person can make is missing.
    """
    documents = list(documents)
    wanted = secrets_of(documents)
    store = _Store(namespace, runner)
    store.look()
    if runner.dry_run:
        runner.say("Those that are there already are left as they are.")
    _make_keys(wanted, store)
    inside = [name_of(document) for document in of_kind(documents, "StatefulSet", "Deployment")]
    made = {"token-key", "token-jwks", "link-key"}
    for server in inside:
        if server in SERVERS:
            made |= {server, SERVERS[server][0]}
            _make_server(server, wanted, store)
    theirs = sorted(wanted - made)
    store.require(theirs)
    for name in ("rabbitmq", "bridge-rabbitmq"):
        if name in theirs:
            runner.run("kubectl", "-n", namespace, "label", "secret", name, _SEEN, "--overwrite")


class _Store:
    """The Secrets of the namespace."""

    def __init__(self, namespace: str, runner: Runner) -> None:
        self._namespace = namespace
        self._runner = runner
        self._there: set[str] = set()

    def look(self) -> None:
        names = self._runner.ask("kubectl", "-n", self._namespace, "get", "secrets", "-o", "name")
        self._there = {line.removeprefix("secret/") for line in names.split()}

    def has(self, name: str) -> bool:
        return name in self._there

    def read(self, name: str) -> dict[str, str]:
        """The values of a Secret that is there."""
        text = self._runner.ask("kubectl", "-n", self._namespace, "get", "secret", name, "-o", "json")
        data = json.loads(text)["data"] if text else {}
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def make(self, name: str, values: Mapping[str, str]) -> None:
        document = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": self._namespace},
            "stringData": dict(values),
        }
        # Not `apply`, which would keep a copy of the values in an annotation.
        shown = f"Secret {name}: {', '.join(sorted(values))}"
        self._runner.run("kubectl", "create", "-f", "-", given=json.dumps(document), shown=shown)
        self._there.add(name)

    def require(self, names: Iterable[str]) -> None:
        """See that these are there and say what they have to."""
        if self._runner.dry_run:
            for name in names:
                self._runner.say(f"Secret {name} has to be there: {self._line(name)}")
            return
        wrong = {}
        for name in names:
            keys = set(re.findall(r"(?:^|--from-literal=)(\w+)=", BY_HAND.get(name, "")))
            if not self.has(name):
                wrong[name] = "is missing"
            elif absent := sorted(keys - self.read(name).keys()):
                wrong[name] = f"has no {' and no '.join(absent)}"
        if wrong:
            lines = [f"The Secret {name} {what}: {self._line(name)}" for name, what in wrong.items()]
            raise DeployError("\n".join((*lines, "docs/deploy.md tells more.")))

    def _line(self, name: str) -> str:
        literal = BY_HAND.get(name, "KEY=VALUE")
        return f"kubectl -n {self._namespace} create secret generic {name} --from-literal={literal}"


def _make_keys(wanted: set[str], store: _Store) -> None:
    if store.has("token-jwks") and not store.has("token-key"):
        raise DeployError(
            "The Secret token-jwks is there, but not token-key, its private half: bring it back, or delete token-jwks"
            " too; new ones end everybody's login."
        )
    fresh = new_secrets()
    if store.has("token-key") and not store.has("token-jwks"):
        # The run before this one broke off between the two.
        key = _value(store, "token-key", "TOKEN_PRIVATE_KEY")
        fresh["TOKEN_JWKS"] = json.dumps(Issuer(key, token_seconds=1).jwks())
    for name, keys in _KEYS.items():
        if name in wanted and not store.has(name):
            store.make(name, {key: fresh[key] for key in keys})


def _value(store: _Store, name: str, key: str) -> str:
    values = store.read(name)
    if key not in values:
        raise DeployError(f"The Secret {name} has no {key}.")
    return values[key]


def _make_server(server: str, wanted: set[str], store: _Store) -> None:
    client, urls = SERVERS[server]
    password = secrets.token_hex(24)
    if server in wanted:
        if store.has(server):
            password = _value(store, server, "password")
        elif store.has(client):
            raise DeployError(
                f"The Secret {client} is there, but not {server}, the password of the server in the namespace: bring"
                f" it back, or delete {client} too if the data may go."
            )
        else:
            store.make(server, {"password": password})
    if not store.has(client):
        store.make(client, {name: value.format(password=password) for name, value in urls.items()})
