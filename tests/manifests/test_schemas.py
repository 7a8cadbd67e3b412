"""Every overlay can be rendered without a network, and holds nothing that Kubernetes or an operator doesn't know."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import yaml
from typer.testing import CliRunner

from local.manifests import check
from local.manifests.__main__ import app
from local.manifests.programs import ManifestError
from tests.manifests.conftest import HOLDS

pytestmark = pytest.mark.usefixtures("programs")

#: One document of each kind that the overlays have; all are as they should be.
DOCUMENTS: Final = Path(__file__).with_name("documents.yaml").read_text(encoding="utf-8")

#: What is written instead of what, and what is said of it.
MISTAKES: Final = {
    "an unknown field": ("timeoutSeconds: 590", "timeoutSecond: 590", "'timeoutSecond' not allowed"),
    "a string for a number": ("timeoutSeconds: 590", 'timeoutSeconds: "590"', "got string, want integer"),
    "a number for a string": ('max-scale: "10"', "max-scale: 10", "got number, want string"),
    "a field of a trigger": ("broker: video2mp3", "broker: video2mp3\n  brocker: other", "'brocker' not allowed"),
    "a field of a pod": ("containerPort: 8080 # Deployment", "contanerPort: 8080", "'contanerPort' not allowed"),
    "a field of a volume": ("sizeLimit: 2Gi", "sizelimit: 2Gi", "'sizelimit' not allowed"),
    "a field of metadata": ("labels: # Deployment", "lables:", "'lables' not allowed"),
    "a quantity": ("memory: 64Mi", "memory: 64MB", "'64MB' does not match pattern"),
    "a field twice": ("backoffLimit: 3", "backoffLimit: 3\n  backoffLimit: 4", "already set"),
    "an unknown kind": ("kind: Trigger", "kind: Triger", "could not find schema for Triger"),
    "an unknown group": ("apiVersion: batch/v1", "apiVersion: batches/v1", "could not find schema for Job"),
    "a version that is gone": ("rabbitmq.com/v1beta1", "rabbitmq.com/v1", "could not find schema for RabbitmqCluster"),
    "an unknown type of queue": ("queueType: quorum", "queueType: quorums", "'classic', 'quorum'"),
    "two ways to a cluster": (
        "rabbitmqClusterReference: # RabbitmqBrokerConfig",
        "rabbitmqClusterReference:\n    connectionSecret: {name: rabbitmq}",
        "'oneOf' failed",
    ),
    "a queue without a name": ("queueName: video", "predeclared: true", "missing property 'queueName'"),
}


def overlay(folder: Path, documents: str) -> Path:
    """Make an overlay of these documents."""
    (folder / "documents.yaml").write_text(documents, encoding="utf-8")
    (folder / "kustomization.yaml").write_text("namespace: video2mp3\nresources: [documents.yaml]\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("folder", check.overlays(), ids=lambda folder: folder.name)
def test_overlay(folder: Path, record_property: Callable[[str, object], None]) -> None:
    """All documents of the overlay are as their schemas say."""
    text = check.render(folder)
    verdict = check.validate(text)
    assert verdict.problems == []
    assert verdict.counts.total() == len(check.documents(text)) > 0
    record_property(HOLDS, "\n".join((folder.name, *verdict.table())))


def components_apart() -> list[Path]:
    """The folders of the components that no overlay has."""
    used = set()
    for folder in check.overlays():
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
        used |= {(folder / path).resolve() for path in kustomization.get("components", ())}
    found = {path.parent for path in (check.OVERLAYS.parent / "components").glob("*/kustomization.yaml")}
    return sorted(found - used)


@pytest.mark.parametrize("component", components_apart(), ids=lambda component: component.name)
def test_component_apart(component: Path, tmp_path: Path) -> None:
    """What a component adds to an overlay is as the schemas say."""
    folder = tmp_path.resolve()
    bases = {"resources": check.overlays()[:1], "components": [component]}
    # kustomize takes no absolute paths.
    kustomization = {key: [os.path.relpath(path, folder) for path in paths] for key, paths in bases.items()}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    assert check.validate(check.render(folder)).problems == []


def test_documents_as_they_should_be(tmp_path: Path) -> None:
    """Each kind that overlays have has a schema."""
    verdict = check.validate(check.render(overlay(tmp_path, DOCUMENTS)))
    assert verdict.problems == []
    assert verdict.counts.total() == DOCUMENTS.count("\nkind: ")


@pytest.mark.parametrize(("said", "written", "problem"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(said: str, written: str, problem: str) -> None:
    """A document with a mistake is refused, with words that tell where, and the others are not."""
    assert DOCUMENTS.count(said) == 1
    problems = check.validate(DOCUMENTS.replace(said, written)).problems
    assert len(problems) == 1
    assert problem in problems[0]


def test_what_is_elsewhere_is_not_fetched(tmp_path: Path) -> None:
    """An overlay that needs the network is refused."""
    for resource in ("https://localhost:9/a.yaml", "https://github.com/video2mp3/video2mp3//knative?ref=v1"):
        (tmp_path / "kustomization.yaml").write_text(f'resources: ["{resource}"]\n', encoding="utf-8")
        with pytest.raises(ManifestError, match="kustomize build"):
            check.render(tmp_path)


def test_other_definitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`CRDS` names a folder of CustomResourceDefinitions that are believed first."""
    definition = """
        kind: CustomResourceDefinition
        spec:
          group: eventing.knative.dev
          names: {kind: Trigger}
          versions:
          - name: v1
            schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {sink: {}}}}}}
    """
    (tmp_path / "trigger.yaml").write_text(definition, encoding="utf-8")
    monkeypatch.setenv("CRDS", str(tmp_path))
    [problem] = check.validate(DOCUMENTS).problems
    assert problem.startswith("Trigger convert: ")


def test_the_command(tmp_path: Path) -> None:
    """`python -m local.manifests` counts what is there, and fails where anything is wrong."""
    good = CliRunner().invoke(app, [str(overlay(tmp_path, DOCUMENTS))])
    assert (good.exit_code, good.stderr) == (0, "")
    assert "   1 serving.knative.dev/v1 Service\n" in good.stdout
    bad = CliRunner().invoke(app, [str(overlay(tmp_path, DOCUMENTS.replace("retry: 5", "retries: 5")))])
    assert bad.exit_code == 1
    assert "Trigger convert: '/spec/delivery': additional properties 'retries' not allowed" in bad.stderr
    absent = CliRunner().invoke(app, [str(tmp_path / "absent")])
    assert absent.exit_code == 1
    assert "kustomize build" in absent.stderr
