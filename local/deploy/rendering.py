"""From an overlay to the documents that are applied."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import yaml

from local.deploy.runner import DeployError, Document

ROOT: Final = Path(__file__).parents[2]
OVERLAYS: Final = ROOT / "knative" / "overlays"
IMAGES: Final = ("functions", "convert", "gateway")
#: What the images are made of (knative/Dockerfile).
_CONTEXT: Final = (
    *("functions", "local", "eventing", "knative/gateway"),
    *("knative/Dockerfile", "pyproject.toml", "requirements-images.lock"),
)


@dataclass(frozen=True)
class Wanted:
    """What is to be deployed."""

    overlay: str
    #: Name that each image's own name is added to.
    images: str
    tag: str
    #: Where people will reach it; empty for what the overlay says.
    url: str = ""
    #: Whether Kourier tells who a client is; else all of them would share the limits of one address.
    knows_clients: bool = True

    def image(self, target: str) -> str:
        """The whole name of one of IMAGES."""
        return f"{self.images}{target}:{self.tag}"


def overlays() -> list[str]:
    """The names of all overlays."""
    return sorted(path.parent.name for path in OVERLAYS.glob("*/kustomization.yaml"))


def known(overlay: str) -> None:
    """See that there is such an overlay.

    Raises:
        DeployError: there is none.
    """
    if overlay not in overlays():
        raise DeployError(f"There is no overlay {overlay!r}; there are {', '.join(overlays())}.")


def tag_of_tree() -> str:
    """A tag that changes with anything that the images are made of, so that no node runs yesterday's image."""
    digest = sha256()
    for name in _CONTEXT:
        top = ROOT / name
        files = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
        for file in files:
            if "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)}\0{file.stat().st_mode & 0o111}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def render(wanted: Wanted) -> list[Document]:
    """The documents of an overlay, with the images and the address that are wanted.

    Raises:
        DeployError: there is no such overlay, or it cannot be rendered.
    """
    known(wanted.overlay)
    with tempfile.TemporaryDirectory(prefix="video2mp3-deploy-") as folder:
        # kustomize takes no absolute path for what it builds on.
        base = os.path.relpath(OVERLAYS / wanted.overlay, Path(folder).resolve())
        on_top = {"resources": [base], "images": _images(wanted), **_changes(wanted)}
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(on_top))
        return [document for document in yaml.safe_load_all(_kustomize(folder)) if document]


def of_kind(documents: Iterable[Document], *kinds: str, group: str = "") -> list[Document]:
    """The documents of these kinds, in the order of the kinds; with a group, only that API group's."""
    found = [document for document in documents if document["apiVersion"].startswith(group)]
    return [document for kind in kinds for document in found if document["kind"] == kind]


def name_of(document: Document) -> str:
    """The name of what a document describes."""
    return str(document["metadata"]["name"])


def namespace_of(documents: Iterable[Document]) -> str:
    """Where all of it goes."""
    [namespace] = of_kind(documents, "Namespace")
    return name_of(namespace)


def secrets_of(documents: Iterable[Document]) -> set[str]:
    """The names of all Secrets that something asks for."""
    found: set[str] = set()

    def look(value: object) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if key in ("secretRef", "secretKeyRef", "connectionSecret"):
                    found.add(inner["name"])
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    for document in documents:
        look(document)
    return found


def _images(wanted: Wanted) -> list[dict[str, str]]:
    return [
        {"name": f"dev.local/video2mp3-{target}", "newName": f"{wanted.images}{target}", "newTag": wanted.tag}
        for target in IMAGES
    ]


def _changes(wanted: Wanted) -> dict[str, object]:
    """What is to be other than the overlay says: address and limits."""
    changes: dict[str, list[object]] = {"patches": [], "configMapGenerator": []}
    if not wanted.knows_clients:
        off = {"name": "gateway", "behavior": "merge", "literals": ["CLIENT_ADDRESS=off"]}
        changes["configMapGenerator"].append(off)
    if wanted.url:
        patches, settings = _address(wanted.url)
        changes["patches"] += patches
        changes["configMapGenerator"].append(settings)
    return {name: value for name, value in changes.items() if value}


def _address(url: str) -> tuple[list[dict[str, object]], dict[str, object]]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DeployError(f"--url must be http://NAME or https://NAME, not {url!r}.")
    rename = yaml.safe_dump([{"op": "replace", "path": "/metadata/name", "value": parts.hostname}])
    named: list[dict[str, object]] = [
        {"target": {"kind": kind}, "patch": rename, "options": {"allowNameChange": True}}
        for kind in ("DomainMapping", "ClusterDomainClaim")
    ]
    settings: dict[str, object] = {
        "name": "settings",
        "behavior": "merge",
        "literals": [f"PUBLIC_URL={url.rstrip('/')}"],
    }
    return named, settings


def _kustomize(folder: str) -> str:
    for command in (["kubectl", "kustomize"], ["kustomize", "build"]):
        if shutil.which(command[0]):
            ended = subprocess.run([*command, folder], capture_output=True, text=True, check=False)
            if ended.returncode:
                raise DeployError(f"The manifests cannot be rendered:\n{ended.stderr.strip()}")
            return ended.stdout
    raise DeployError("kubectl is not installed, or not on PATH; see docs/deploy.md.")
