"""The cluster that KUBECONFIG names, the ways into it, and after the tests a table of what was measured."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from tests.cluster.forward import Forward
from tests.cluster.kube import Kube, KubectlError
from tests.cluster.pods import Pods
from tests.cluster.report import HEAD, line
from tests.cluster.stores import Mailbox, Rows
from tests.cluster.traffic import Client, Door, again, registered
from tests.media.encode import clip, encode

NAMESPACE: Final = os.environ.get("VIDEO2MP3_CLUSTER_NAMESPACE") or "video2mp3"
#: The name under which a test says what was measured.
_MEASURED: Final = "cluster"
_KOURIER: Final = "kourier-system"

People = Callable[[], Client]
Record = Callable[..., None]
#: Posts headers and a body to a function (and a path) inside the cluster.
Post = Callable[..., requests.Response]


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark of a test that takes long, whatever the cluster is like."""
    config.addinivalue_line("markers", "slow: takes ten minutes; VIDEO2MP3_CLUSTER_SLOW=1 runs it")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, also what failed tests had measured by then."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    # A test whose teardown fails has two reports with the same lines.
    found = [str(value) for report in reports for name, value in report.user_properties if name == _MEASURED]
    if found:
        terminalreporter.section(f"namespace {NAMESPACE}")
        for each in [HEAD, *dict.fromkeys(found)]:
            terminalreporter.write_line(each)


@pytest.fixture(scope="session")
def kube() -> Kube:
    """The cluster; without one every test is skipped, also where `CI` is set."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set: these tests need a cluster that the system is deployed on")
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    made = Kube(NAMESPACE)
    try:
        made.run("get", "ksvc", "gateway", "--request-timeout=20s", seconds=60)
    except KubectlError as error:
        pytest.skip(
            f"nothing is deployed there (VIDEO2MP3_CLUSTER_NAMESPACE={NAMESPACE}): {str(error).splitlines()[-1]}"
        )
    return made


@pytest.fixture(scope="session")
def door(kube: Kube) -> Iterator[Door]:
    """The public way in, VIDEO2MP3_CLUSTER_URL or a port-forward to Kourier, and the gateway's name there."""
    host = _public_name(kube)
    given = os.environ.get("VIDEO2MP3_CLUSTER_URL", "").rstrip("/")
    if given:
        yield Door(given, host)
        return
    with Forward(_KOURIER, "kourier", 80) as forward:
        yield Door(forward.url, host)


def _public_name(kube: Kube) -> str:
    """That of a DomainMapping to the gateway, else the Service's own, which may be known inside the cluster alone."""
    for mapping in kube.read("domainmappings.serving.knative.dev")["items"]:
        if mapping["spec"]["ref"]["name"] == "gateway":
            return str(mapping["metadata"]["name"])
    return str(kube.read("ksvc", "gateway")["status"]["url"]).partition("://")[2]


@pytest.fixture(scope="session")
def inside(kube: Kube) -> Iterator[Post]:
    """Posts to functions as any pod of the cluster can."""
    with Forward(_KOURIER, "kourier-internal", 80) as forward:

        def post(function: str, headers: dict[str, str], body: bytes, path: str = "/") -> requests.Response:
            named = {**headers, "Host": f"{function}.{kube.namespace}.svc.cluster.local"}
            url = f"{forward.url}{path}"
            return again(lambda: requests.post(url, data=body, headers=named, timeout=120, allow_redirects=False))

        yield post


@pytest.fixture(scope="session")
def publish(kube: Kube) -> Iterator[Callable[[dict[str, str], bytes], int]]:
    """Posts to the broker's ingress; the answer's status."""
    [broker] = [each["metadata"]["name"] for each in kube.read("brokers.eventing.knative.dev")["items"]]
    with Forward(kube.namespace, f"{broker}-broker-ingress", 80) as forward:

        def post(headers: dict[str, str], body: bytes) -> int:
            url = f"{forward.url}/"
            return again(lambda: requests.post(url, data=body, headers=headers, timeout=30)).status_code

        yield post


@pytest.fixture(scope="session")
def rows_if_any(kube: Kube) -> Rows | None:
    """The rows, where the database is in the namespace and MySQL."""
    return Rows(kube) if kube.has("statefulset", "mysql") else None


@pytest.fixture
def rows(rows_if_any: Rows | None) -> Rows:
    """The rows; without them the test is skipped."""
    if rows_if_any is None:
        pytest.skip(f"there is no StatefulSet mysql in namespace {NAMESPACE} whose rows could be looked at")
    return rows_if_any


@pytest.fixture(scope="session")
def mailbox_if_any(kube: Kube) -> Iterator[Mailbox | None]:
    """The mails, where they go to mailpit."""
    if not kube.has("deployment", "mailpit"):
        yield None
        return
    with Forward(kube.namespace, "mailpit", 8025) as forward:
        yield Mailbox(forward.url)


@pytest.fixture
def mailbox(mailbox_if_any: Mailbox | None) -> Mailbox:
    """The mails; without them the test is skipped."""
    if mailbox_if_any is None:
        pytest.skip(f"there is no Deployment mailpit in namespace {NAMESPACE} whose mails could be looked at")
    return mailbox_if_any


@pytest.fixture
def people(door: Door, rows_if_any: Rows | None, mailbox_if_any: Mailbox | None) -> Iterator[People]:
    """Makes accounts; afterwards their jobs are deleted, and mails and accounts where they can be."""
    made: list[Client] = []

    def make() -> Client:
        made.append(registered(door))
        return made[-1]

    yield make
    for client in made:
        while jobs := client.call("GET", "/jobs?limit=200").json()["jobs"]:
            for job in jobs:
                assert client.call("DELETE", f"/jobs/{job['id']}").status_code in (204, 404)
    if mailbox_if_any is not None:
        mailbox_if_any.forget(client.email for client in made)
    if rows_if_any is not None and made:
        addresses = ", ".join(f"'{client.email}'" for client in made)
        rows_if_any.run(f"DELETE FROM accounts WHERE email IN ({addresses})")  # noqa: S608 - our own addresses


@pytest.fixture
def pods(kube: Kube) -> Iterator[Pods]:
    """Counts pods while the test runs."""
    with Pods(kube) as counting:
        yield counting


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Puts a line into the table; the arguments are those of `line`."""

    def put(*arguments: Any, **named: Any) -> None:
        request.node.user_properties.append((_MEASURED, line(*arguments, **named)))

    return put


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of five seconds."""
    return clip(tmp_path_factory.mktemp("short") / "short.mp4", seconds=5)


@pytest.fixture(scope="session")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of three minutes, whose conversion takes some seconds."""
    return clip(tmp_path_factory.mktemp("minutes") / "minutes.mp4", seconds=180)


@pytest.fixture(scope="session")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of sound, whose conversion takes about half a minute."""
    folder = tmp_path_factory.mktemp("hour")
    beeps = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:beep_factor=4:duration=60")
    minute = encode(folder / "minute.m4a", *beeps, "-c:a", "aac", "-b:a", "48k")
    return encode(folder / "hour.m4a", "-stream_loop", "59", "-i", minute, "-c", "copy")
