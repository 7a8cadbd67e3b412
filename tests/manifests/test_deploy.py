"""What `knative/deploy`, `knative/install` and `knative/remove` would do, in which order, without a cluster."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from local.deploy import rendering
from local.deploy.credentials import BY_HAND
from local.deploy.rendering import Wanted, name_of, of_kind, render, secrets_of
from local.manifests.programs import KUSTOMIZE

pytestmark = pytest.mark.usefixtures("programs")

ROOT: Final = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with kustomize, and with no program that could reach a cluster."""
    (tmp_path / "kustomize").symlink_to(KUSTOMIZE.path)
    return f"{tmp_path}:/usr/bin:/bin"


@pytest.fixture
def run(path: str, tmp_path: Path) -> Run:
    """Runs one of the three scripts; no cluster is known."""

    def call(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}", "KUBECONFIG": str(tmp_path / "none")}
        command = [str(ROOT / "knative" / script), *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=tmp_path)

    return call


def steps(output: str) -> list[str]:
    """The titles of the steps."""
    return re.findall(r"^\d+\. (.*)$", output, re.M)


def test_minikube(run: Run) -> None:
    """Images, stores, schema, broker, binding, functions, triggers: each after what it needs."""
    done = run("deploy", "--dry-run", "minikube")
    assert (done.returncode, done.stderr) == (0, "")
    assert [title.partition(":")[0].split(",")[0] for title in steps(done.stdout)] == [
        *("Prerequisites", "Images", "Namespace and settings", "Secrets", "Data stores and RabbitMQ"),
        *("The database's schema", "Broker", "SinkBinding", "Functions", "Triggers and sources", "Host name"),
    ]
    for service in ("auth", "upload", "convert", "notify", "jobs", "download", "recover", "gateway"):
        assert re.search(rf"kn service apply {service} -n video2mp3 -f \S+/{service}.yaml --no-wait", done.stdout)
    tags = set(re.findall(r"minikube -p minikube image build -t dev.local/video2mp3-\w+:(\w{12}) ", done.stdout))
    assert len(tags) == 1
    assert "URL=http://video2mp3.com:8080" in done.stdout
    assert "port-forward service/rabbitmq 15672" in done.stdout


def test_external(run: Run) -> None:
    """Nothing but four Secrets has to be there, and each is named with the command that makes it."""
    done = run(
        "deploy", "--dry-run", "external", "--images", "example.org/v", "--tag", "1", "--url", "http://a.example"
    )
    assert (done.returncode, done.stderr) == (0, "")
    wanted = re.findall(r"Secret (\S+) has to be there: (kubectl .*)", done.stdout)
    assert [name for name, _ in wanted] == ["blobs", "database", "mail", "rabbitmq"]
    assert all(f"kubectl -n video2mp3 create secret generic {name} " in line for name, line in wanted)
    assert "Data stores" not in done.stdout
    assert "minikube" not in done.stdout
    assert "DomainMapping a.example" in done.stdout


def test_the_commands_of_the_docs_are_those_that_deploy_names() -> None:
    """A person who reads either does the same."""
    docs = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    for name, literal in BY_HAND.items():
        command = f"create secret generic {name} --from-literal={literal}"
        assert command in re.sub(r"\s*\\\n\s*", " ", docs), command


@pytest.mark.parametrize("overlay", rendering.overlays())
def test_images_and_address_of_ones_own(path: str, overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image is the one that was named, and every address; nothing else changes."""
    monkeypatch.setenv("PATH", path)
    usual = render(Wanted(overlay, "dev.local/video2mp3-", "dev"))
    documents = render(Wanted(overlay, "example.org/team/v-", "1.2", "https://mp3.example.org/"))
    text = str(documents)
    images = set(re.findall(r"'image': '(example[^']*)'", text))
    assert images == {f"example.org/team/v-{target}:1.2" for target in rendering.IMAGES}
    assert "dev.local" not in text
    assert "video2mp3.com" not in str([each for each in documents if each["kind"] != "ConfigMap"])
    [settings] = [each for each in of_kind(documents, "ConfigMap") if name_of(each).startswith("settings-")]
    assert settings["data"]["PUBLIC_URL"] == "https://mp3.example.org"
    assert [each["kind"] for each in documents] == [each["kind"] for each in usual]
    assert secrets_of(documents) == secrets_of(usual)


def test_limits_where_clients_are_not_known(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All clients would share the limits of one address, so there are none, in a revision of its own."""
    monkeypatch.setenv("PATH", path)
    told = {}
    for known in (True, False):
        documents = render(Wanted("minikube", "dev.local/video2mp3-", "dev", knows_clients=known))
        [config] = [each for each in of_kind(documents, "ConfigMap") if name_of(each).startswith("gateway-")]
        told[name_of(config)] = config["data"]["CLIENT_ADDRESS"]
        assert name_of(config) in str(of_kind(documents, "Service"))
    assert sorted(told.values()) == ["off", "on"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nonsense",), "There is no overlay 'nonsense'; there are external, minikube, production, staging."),
        (("external",), "Only minikube gets images built"),
        (("external", "--images", "a"), "--images and --tag belong together."),
        (("external", "--images", "a", "--tag", "latest"), "--tag latest"),
        (("external", "--images", "a", "--tag", "1", "--url", "mp3.example.org"), "--url must be http://NAME"),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], sentence: str) -> None:
    """One sentence, and nothing was begun."""
    done = run("deploy", *arguments)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "$" not in done.stdout


def test_no_secret_is_told(run: Run) -> None:
    """Names of Secrets and of their keys, no values."""
    done = run("deploy", "--dry-run", "minikube")
    made = re.findall(r"kubectl create -f -   # Secret (\S+): (\S.*)", done.stdout)
    assert {name for name, _ in made} == {
        *("token-key", "token-jwks", "link-key", "mysql", "database", "mongodb", "blobs", "mail")
    }
    assert not re.search(r"://[^\s/]*:[^\s/]*@|PRIVATE KEY-----|[0-9a-f]{48}", done.stdout)


def test_install_and_remove(run: Run) -> None:
    """Pinned versions in the order of what needs what; a removal keeps what was stored unless it is told not to."""
    done = run("install", "--dry-run", "--tls", "ops@example.org")
    assert done.returncode == 0, done.stderr
    assert [title.split(" knative-v")[0].split(" v")[0] for title in steps(done.stdout)] == [
        *("cert-manager", "Knative Serving", "Kourier", "Knative Eventing", "RabbitMQ cluster operator"),
        *("RabbitMQ messaging topology operator", "eventing-rabbitmq, the broker", "eventing-rabbitmq, the source"),
        *("Knative's settings", "Certificates by Let's Encrypt"),
    ]
    assert '"use-remote-address": "true"' in done.stdout
    assert '"externalTrafficPolicy": "Local"' in done.stdout
    assert "/latest/" not in done.stdout
    kept = run("remove", "--dry-run", "minikube")
    assert (kept.returncode, "delete namespace" in kept.stdout) == (0, False)
    gone = run("remove", "--dry-run", "minikube", "--data")
    assert "kubectl delete namespace video2mp3 --ignore-not-found" in gone.stdout


def test_the_tag_follows_the_images_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file is another tag, so that no node goes on with an image of yesterday; a cache makes no difference."""
    monkeypatch.setattr(rendering, "ROOT", tmp_path)
    (tmp_path / "functions" / "__pycache__").mkdir(parents=True)
    (tmp_path / "functions" / "a.py").write_text("a = 1\n")
    first = rendering.tag_of_tree()
    (tmp_path / "functions" / "__pycache__" / "a.pyc").write_bytes(b"x")
    assert rendering.tag_of_tree() == first
    (tmp_path / "functions" / "a.py").write_text("a = 2\n")
    assert rendering.tag_of_tree() != first
    assert re.fullmatch("[0-9a-f]{12}", first)
