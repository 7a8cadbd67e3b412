"""Every Knative Service of every overlay can be handed to kn, which keeps all of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from local.manifests import check
from local.manifests.programs import ManifestError

pytestmark = pytest.mark.usefixtures("programs")

#: One Service, with fields of every depth.
SERVICE: Final = """
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: convert
  namespace: video2mp3
spec:
  template:
    metadata:
      annotations:
        autoscaling.knative.dev/min-scale: "0"
    spec:
      automountServiceAccountToken: false
      containerConcurrency: 1
      timeoutSeconds: 590
      containers:
      - image: example.org/video2mp3:1
        env:
        - name: EMPTY
          value: ""
        readinessProbe:
          httpGet:
            path: /healthz
        resources:
          limits:
            cpu: 1500m
            memory: 1Gi
      volumes:
      - name: work
        emptyDir:
          sizeLimit: 2Gi
"""
STAMP: Final = "client.knative.dev/updateTimestamp"


def differences(said: Any, made: Any, path: str = "") -> Iterator[str]:
    """What kn changed; it adds its stamp and empty values, and writes quantities in their shortest form."""
    if path.endswith(STAMP) or (is_empty(said) and is_empty(made)):
        return
    if isinstance(said, dict | None) and isinstance(made, dict | None):
        said, made = said or {}, made or {}
        for key in {**said, **made}:
            yield from differences(said.get(key), made.get(key), f"{path}/{key}")
    elif isinstance(said, list) and isinstance(made, list) and len(said) == len(made):
        for index, pair in enumerate(zip(said, made, strict=True)):
            yield from differences(*pair, f"{path}/{index}")
    elif said != made:
        yield f"{path}: {said!r} became {made!r}"


def is_empty(value: Any) -> bool:
    """Whether Go takes it for the same as nothing."""
    return value is not False and not value


@pytest.mark.parametrize("folder", check.overlays(), ids=lambda folder: folder.name)
def test_overlay(folder: Path) -> None:
    """Kn takes each Service of the overlay, and has nothing lost."""
    services = check.services(check.render(folder))
    assert services
    for service in services:
        assert [*differences(service, check.created(service))] == [], service["metadata"]["name"]


def test_a_service() -> None:
    """All of it arrives."""
    [service] = check.services(SERVICE)
    assert [*differences(service, check.created(service))] == []


@pytest.mark.parametrize(
    ("said", "written", "lost"),
    [
        ("timeoutSeconds: 590", "timeoutSecond: 590", ["/spec/template/spec/timeoutSecond: 590 became None"]),
        ("cpu: 1500m", "cpu: 2000m", ["/spec/template/spec/containers/0/resources/limits/cpu: '2000m' became '2'"]),
    ],
)
def test_what_kn_changes(said: str, written: str, lost: list[str]) -> None:
    """Whatever kn leaves out or writes in other words is seen."""
    [service] = check.services(SERVICE.replace(said, written))
    assert [*differences(service, check.created(service))] == lost


def test_what_kn_cannot_read() -> None:
    """A Service that makes no sense is refused."""
    [service] = check.services(SERVICE.replace("containerConcurrency: 1", "containerConcurrency: one"))
    with pytest.raises(ManifestError, match="containerConcurrency"):
        check.created(service)
