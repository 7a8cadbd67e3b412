"""JSON schemas of every kind that our manifests may have, made from what Kubernetes and the operators publish.

They forbid what they don't name, as `kubectl apply --validate=strict` does. A file is called as kubeconform asks for
it: group, kind and version, where the group of Kubernetes' oldest kinds is `v1`.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from local.testservers import golang
from local.testservers.fleet import ROOT, cache_folder

#: How kubeconform fills in the name of a schema's file.
PATTERN: Final = "{{.Group}}_{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"
#: Schemas of kinds that no Go module brings, in our words; the file names are those that PATTERN gives.
OWN: Final = ROOT / "tests" / "manifests" / "schemas"

Schema = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A file or a folder of a Go module."""

    module: str
    version: str
    path: str

    def fetched(self) -> Path:
        """Where it is, once it is there."""
        return golang.downloaded(self.module, self.version) / self.path


_KUBERNETES: Final = Source("k8s.io/kubernetes", "v1.34.1", "api/openapi-spec/swagger.json")
#: Folders of CustomResourceDefinitions.
_CUSTOM: Final = (
    Source("knative.dev/serving", "v0.49.1", "config/core/300-resources"),
    # The version in the go.mod of serving.
    Source("knative.dev/networking", "v0.0.0-20260529061306-c8de379770b9", "config"),
    Source("knative.dev/eventing", "v0.49.2", "config/core/resources"),
    Source("github.com/rabbitmq/cluster-operator/v2", "v2.16.0", "config/crd/bases"),
    Source("github.com/rabbitmq/messaging-topology-operator", "v1.20.1", "config/crd/bases"),
    Source("github.com/cert-manager/cert-manager", "v1.19.1", "deploy/crds"),
)
#: The file that keeps Kubernetes' definitions, which other schemas borrow from.
_DEFINITIONS: Final = "_definitions.json"
_METADATA: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
#: Kubernetes says no more of it than that it is a string.
_QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_QUANTITY_SCHEMA: Final = {
    "type": ["string", "number"],
    "pattern": r"^[+-]?(\d+\.?\d*|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?$",
}
#: What the CRDs of Knative Serving leave open, where Kubernetes has a definition of the same.
_PARTS_OF_PODS: Final = {
    "affinity": "Affinity",
    "csi": "CSIVolumeSource",
    "dnsConfig": "PodDNSConfig",
    "emptyDir": "EmptyDirVolumeSource",
    "fieldRef": "ObjectFieldSelector",
    "hostAliases": "HostAlias",
    "hostPath": "HostPathVolumeSource",
    "image": "ImageVolumeSource",
    "initContainers": "Container",
    "persistentVolumeClaim": "PersistentVolumeClaimVolumeSource",
    "resourceFieldRef": "ResourceFieldSelector",
    "securityContext": "PodSecurityContext",
    "tolerations": "Toleration",
    "topologySpreadConstraints": "TopologySpreadConstraint",
}
#: What the CRDs of Knative Eventing leave out and yet mean to be there: fields whose feature is enabled by default.
_FEATURES: Final = {"delivery": {"timeout": {"type": "string"}}}
_REFERENCES: Final = re.compile(r'"#/definitions/([^"]+)"')
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def cached() -> Path:
    """The folder where the schemas are kept; its name changes with what they are made from."""
    digest = hashlib.sha256()
    for path in (Path(__file__), *sorted(OWN.glob("*.json"))):
        digest.update(path.read_bytes())
    return cache_folder() / f"schemas-{digest.hexdigest()[:12]}"


def install(say: Callable[[str], None]) -> None:
    """Fetch the modules and make the schemas unless that was done.

    Raises:
        ServerError: there is no Go, or a module cannot be had.
    """
    folder = cached()
    if folder.exists():
        return
    with golang.alone(folder.parent, "schemas"), tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        if folder.exists():
            return
        made = Path(unfinished) / "schemas"
        made.mkdir()
        say("making schemas")
        definitions = write_kubernetes(made, json.loads(_KUBERNETES.fetched().read_text(encoding="utf-8")))
        for source in _CUSTOM:
            write_custom(made, source.fetched(), definitions)
        for path in OWN.glob("*.json"):
            write_schema(made / path.name, json.loads(path.read_text(encoding="utf-8")), definitions)
        made.rename(folder)


@contextmanager
def chosen(env: Mapping[str, str] = os.environ) -> Iterator[Path]:
    """The folder of schemas to check against: the cached ones, and in their places those of the CRDs in `CRDS`."""
    if "CRDS" not in env:
        yield cached()
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "schemas"
        shutil.copytree(cached(), made)
        definitions = json.loads((made / _DEFINITIONS).read_text(encoding="utf-8"))
        write_custom(made, Path(env["CRDS"]), definitions)
        yield made


def write_kubernetes(folder: Path, swagger: Schema) -> Schema:
    """Write the schemas of Kubernetes' own kinds, from its OpenAPI 2 description; return its definitions."""
    definitions = {name: strict(schema) for name, schema in swagger["definitions"].items()}
    definitions[_QUANTITY] = _QUANTITY_SCHEMA
    _write(folder / _DEFINITIONS, definitions)
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            path = folder / file_name(kind["group"] or "v1", kind["kind"], kind["version"])
            _write(path, whole(_reference(name), definitions))
    return definitions


def write_custom(folder: Path, source: Path, definitions: Schema) -> None:
    """Write the schemas of all CustomResourceDefinitions in a folder of YAML files."""
    for path in sorted(source.glob("*.yaml")):
        for document in yaml.load_all(path.read_text(encoding="utf-8"), _LOADER):
            if not document or document.get("kind") != "CustomResourceDefinition":
                continue
            spec = document["spec"]
            for version in spec["versions"]:
                name = file_name(spec["group"], spec["names"]["kind"], version["name"])
                write_schema(folder / name, version["schema"]["openAPIV3Schema"], definitions)


def write_schema(path: Path, schema: Schema, definitions: Schema) -> None:
    """Write the schema of a kind, made strict and with what every object has."""
    made = strict({**schema, "properties": schema.get("properties", {})})
    made["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
    made["properties"]["metadata"] = _reference(_METADATA)
    _write(path, whole(made, definitions))


def file_name(group: str, kind: str, version: str) -> str:
    """What PATTERN gives."""
    return f"{group}_{kind.lower()}_{version}.json"


def strict(schema: Schema, name: str = "") -> Schema:
    """An OpenAPI schema as a JSON schema that forbids what it doesn't name.

    Also where a CRD has names and leaves room for others, as for the spec of a Trigger: the webhook of Knative
    Eventing, which is asked next, refuses them. What is below `allOf`, `anyOf` and `oneOf` only adds conditions to what
    is beside them.

    Args:
        schema: it, with all that is below it.
        name: of the property that it is for.
    """
    is_open = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if is_open and "properties" not in schema and name in _PARTS_OF_PODS:
        return _reference(f"io.k8s.api.core.v1.{_PARTS_OF_PODS[name]}")
    made = {key: value for key, value in schema.items() if key not in ("description", "default", "example")}
    if "properties" in made:
        made["properties"] = {key: strict(value, key) for key, value in made["properties"].items()}
        if is_open:
            made["properties"] |= _FEATURES.get(name, {})
        made.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = strict(made[key], name)
    if made.get("x-kubernetes-int-or-string") or made.get("format") == "int-or-string":
        made["type"] = ["integer", "string"]
    return made


def whole(schema: Schema, definitions: Schema) -> Schema:
    """A schema with the definitions that it refers to, directly or not."""
    found: Schema = {}
    texts = [json.dumps(schema)]
    while texts:
        for name in set(_REFERENCES.findall(texts.pop())) - found.keys():
            found[name] = definitions[name]
            texts.append(json.dumps(found[name]))
    return {**schema, "definitions": found}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _write(path: Path, schema: Schema) -> None:
    path.write_text(json.dumps(schema, separators=(",", ":")), encoding="utf-8")
