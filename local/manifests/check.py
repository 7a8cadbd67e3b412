"""What is asked of manifests: that they can be rendered, that their fields exist, and that kn takes the Services."""

import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from local.manifests import schemas
from local.manifests.programs import KN, KUBECONFORM, KUSTOMIZE, PROGRAMS, ManifestError
from local.testservers.fleet import ROOT

OVERLAYS: Final = ROOT / "knative" / "overlays"

Document = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What came of validating documents."""

    #: How many there are of each kind, by apiVersion and kind.
    counts: Counter[str]
    #: One line for each that is not as its schema says, or that has no schema.
    problems: list[str]

    def table(self) -> list[str]:
        """The counts, a line for each kind."""
        return [f"{count:4} {kind}" for kind, count in sorted(self.counts.items())]


def is_installed() -> bool:
    """Whether all programs and the schemas are there."""
    return all(program.path.exists() for program in PROGRAMS) and schemas.cached().exists()


def overlays() -> list[Path]:
    """The folders of all overlays."""
    return sorted(path.parent for path in OVERLAYS.glob("*/kustomization.yaml"))


def render(folder: Path) -> str:
    """The documents of an overlay, in YAML.

    Raises:
        ManifestError: kustomize refuses, as it does for everything that is not on this machine.
    """
    ended = KUSTOMIZE.run("build", str(folder))
    if ended.returncode:
        raise ManifestError(f"kustomize build {folder}: {ended.stderr.strip()}")
    return ended.stdout


def documents(text: str) -> list[Document]:
    """What a text of YAML holds."""
    return [document for document in yaml.safe_load_all(text) if document]


def validate(text: str) -> Verdict:
    """Hold each document of a text against the schema of its kind."""
    with schemas.chosen() as folder:
        location = str(folder / schemas.PATTERN)
        options = ("-strict", "-verbose", "-output", "json", "-schema-location", location)
        ended = KUBECONFORM.run(*options, "-", text=text)
    try:
        results = json.loads(ended.stdout)["resources"]
    except ValueError as error:
        raise ManifestError(f"kubeconform: {ended.stderr.strip() or ended.stdout.strip()}") from error
    problems = [
        f"{result['kind']} {result['name']}: {_plain(result['msg'])}"
        for result in results
        if result["status"] not in ("statusValid", "")
    ]
    counts = Counter(f"{result['version']} {result['kind']}" for result in results if result["status"])
    return Verdict(counts, problems)


def services(text: str) -> list[Document]:
    """The Knative Services in a text of YAML."""
    wanted = ("serving.knative.dev/v1", "Service")
    return [document for document in documents(text) if (document["apiVersion"], document["kind"]) == wanted]


def created(service: Document) -> Document:
    """What kn would hand to a cluster for a Knative Service that is in a file.

    Raises:
        ManifestError: kn refuses it.
    """
    metadata = service["metadata"]
    name, namespace = metadata["name"], metadata.get("namespace", "default")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "service.yaml", Path(folder) / "made"
        source.write_text(yaml.safe_dump(service), encoding="utf-8")
        target.mkdir()
        ended = KN.run("service", "create", name, "-f", str(source), "--target", str(target), "-n", namespace)
        if ended.returncode:
            raise ManifestError(f"kn service create {name}: {ended.stderr.strip()}")
        made = target / namespace / "ksvc" / f"{name}.yaml"
        return documents(made.read_text(encoding="utf-8"))[0]


def _plain(message: str) -> str:
    """The words of kubeconform that are about the document."""
    return "; ".join(message.split(" - at ")[1:]) or message
