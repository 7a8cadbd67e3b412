"""`local/compose.yaml`, which no test starts: what it names exists, and its settings are those of the functions."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from typer.testing import CliRunner

from functions.common.config import NEEDS, OPTIONAL, load
from local.testservers.__main__ import app
from local.testservers.ferretdb import FerretDB
from local.testservers.mariadb import MariaDB
from local.testservers.rabbitmq import RabbitMQ
from local.testservers.smtp import Smtp
from local.testservers.versitygw import VersityGateway

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "local" / "compose.yaml").read_text(encoding="utf-8")
SERVICES: Final[dict[str, Any]] = yaml.safe_load(TEXT)["services"]
FUNCTIONS: Final = sorted(set(NEEDS) - OPTIONAL)
#: A variable, whether it is asked for, and what stands in its place if it is not there.
VARIABLE: Final = re.compile(r"(?<!\$)\$\{(\w+)(:[?-])?((?:[^{}]|\$\{[^{}]*\})*)\}")


def secrets() -> dict[str, str]:
    """What `local/services secrets` prints."""
    printed = CliRunner().invoke(app, ["secrets"]).output
    values = {}
    for line in printed.splitlines():
        name, _, value = line.partition("=")
        values[name] = json.loads(value) if value.startswith('"') else value.strip("'")
    return values


def filled_in(text: str, values: dict[str, str]) -> str:
    """A text as Compose fills it in."""

    def found(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        return values.get(name, filled_in(rest, values) if kind == ":-" else "")

    return VARIABLE.sub(found, text).replace("$$", "$")


def environment(service: str, values: dict[str, str]) -> dict[str, str]:
    """The settings of a service, with these secrets."""
    return {name: filled_in(value, values) for name, value in SERVICES[service]["environment"].items()}


def test_images_are_pinned() -> None:
    """No image changes by itself: each has a tag that is a version, and ours is the one that is built here."""
    images = [filled_in(service["image"], {}) for service in SERVICES.values()]
    ours = {f"dev.local/video2mp3-{target}:dev" for target in ("functions", "convert", "gateway")}
    assert ours < set(images)
    for image in set(images) - ours:
        assert re.fullmatch(r"[\w./-]+:(v?\d+\.\d+[\w.-]*|RELEASE\.[\w-]+)", image), image


def test_images_of_ours_are_built_once_each() -> None:
    """`docker compose build` makes every image of ours from the target that it is named for, and makes it once."""
    built = {service["build"]["target"]: service for service in SERVICES.values() if "build" in service}
    named = {service["image"] for service in SERVICES.values() if service["image"].startswith("dev.local/")}
    assert {service["image"] for service in built.values()} == named
    assert len(built) == sum("build" in service for service in SERVICES.values())
    for target, service in built.items():
        assert filled_in(service["image"], {}) == f"dev.local/video2mp3-{target}:dev"
        assert (ROOT / "local" / service["build"]["context"]).resolve() == ROOT
        assert f" AS {target}\n" in (ROOT / service["build"]["dockerfile"]).read_text(encoding="utf-8")


def test_the_gateway_finds_the_functions() -> None:
    """It asks Docker's name server for a function's name, and finds it on the port that the image serves."""
    assert environment("gateway", {}) == {"UPSTREAM": "http://$function:8080", "RESOLVER": "127.0.0.11"}
    assert SERVICES["gateway"]["ports"] == ["127.0.0.1:20080:8080"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_function_has_its_image(function: str) -> None:
    """Only convert has ffmpeg."""
    kind = "convert" if function == "convert" else "functions"
    assert filled_in(SERVICES[function]["image"], {}) == f"dev.local/video2mp3-{kind}:dev"


def test_secrets_are_those_that_are_printed() -> None:
    """Each secret that the file asks for is printed, and no other; all are new each time."""
    assert set(re.findall(r"\$\{(\w+):\?", TEXT)) == set(secrets())
    assert not set(secrets().values()) & set(secrets().values())


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_function_could_start(function: str) -> None:
    """Its settings are all that it needs, and none of them is unknown to it."""
    env = environment(function, secrets())
    assert env.pop("FUNCTION_TARGET") == function
    config = load(env, function=function)
    documented = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert [name for name in env if f"`{name}`" not in documented] == []
    assert bool(config.token_private_key) == (function == "auth")


def test_the_broker_has_what_it_needs() -> None:
    """Ingress and dispatcher know RabbitMQ, and the migration knows the functions' database."""
    values = secrets()
    for service in ("ingress", "dispatcher"):
        assert environment(service, values)["BROKER_URL"].startswith("amqp://video2mp3:")
    assert environment("migrate", values)["DATABASE_URL"] == environment("upload", values)["DATABASE_URL"]


def test_everything_of_ours_is_in_the_profile() -> None:
    """Without `--profile app` there are servers only."""
    ours = {name for name, service in SERVICES.items() if service.get("profiles") == ["app"]}
    assert ours == {*FUNCTIONS, "gateway", "ingress", "dispatcher", "migrate"}


def test_ports_are_those_of_local_services() -> None:
    """Whoever changes from one to the other finds the servers where they were, on the loopback interface only."""
    published = {port for service in SERVICES.values() for port in service.get("ports", ())}
    assert {port.split(":")[0] for port in published} == {"127.0.0.1"}
    outer = {int(port.split(":")[1]) for port in published}
    wanted = {port for server in (RabbitMQ, MariaDB, FerretDB, VersityGateway, Smtp) for port in server.ports.values()}
    # RabbitMQ's nodes speak to each other, and there is one.
    assert wanted - outer == {RabbitMQ.ports["distribution"], RabbitMQ.ports["epmd"]}


def test_servers_have_checks_and_keep_their_data() -> None:
    """Each server says when it is ready, and what it keeps has a named volume."""
    for name in ("rabbitmq", "mysql", "mongodb", "minio", "mailpit"):
        assert SERVICES[name]["healthcheck"]["test"]
    volumes = {name: SERVICES[name]["volumes"][0].split(":")[0] for name in ("rabbitmq", "mysql", "mongodb", "minio")}
    assert volumes == {name: name for name in yaml.safe_load(TEXT)["volumes"]}
