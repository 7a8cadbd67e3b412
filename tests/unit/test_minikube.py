"""Images that are built inside minikube, whose programs here are a list of answers."""

import json
from collections.abc import Sequence
from io import StringIO
from typing import Final

import pytest
from rich.console import Console

from local.deploy.minikube import Minikube, find
from local.deploy.rendering import Wanted
from local.deploy.runner import DeployError, Runner

WANTED: Final = Wanted("minikube", "dev.local/v-", "1")


class Cluster(Runner):
    """One node, and these images; a build may come to nothing, which the program's exit code never tells.

    Args:
        images: those that are there.
        fails: the one whose build does.
        labels: the node's.
    """

    def __init__(self, *images: str, fails: str = "", labels: dict[str, str] | None = None) -> None:
        self.told = StringIO()
        super().__init__(Console(file=self.told, width=500), dry_run=False)
        self.builds: list[tuple[str, ...]] = []
        self._images = set(images)
        self._fails = fails
        self._labels = labels or {}

    def _run(self, command: Sequence[str], _given: str | None, _why: Sequence[str]) -> str:
        if "nodes" in command:
            runtime = {"nodeInfo": {"containerRuntimeVersion": "containerd://2.1.4"}}
            node = {"metadata": {"name": "a", "labels": self._labels}, "status": runtime}
            return json.dumps({"kind": "List", "items": [node]})
        if "ls" in command:
            return "".join(f"{image}\n" for image in self._images)
        self.builds.append(tuple(command))
        self._images |= {command[command.index("-t") + 1]} - {self._fails}
        return ""


def test_it_is_known_by_its_nodes() -> None:
    """Whatever its context is called, and none is taken for one because of that."""
    assert find(Cluster(labels={"minikube.k8s.io/name": "mine"})) == Minikube("mine", containerd=True)
    assert find(Cluster()) is None


@pytest.mark.parametrize(("containerd", "option"), [(True, "opt=target=convert"), (False, "target=convert")])
def test_what_is_missing_is_built(containerd: bool, option: str) -> None:
    """By the words that its builder knows."""
    cluster = Cluster("dev.local/v-functions:1", "dev.local/v-gateway:1")
    Minikube("mine", containerd=containerd).build(WANTED, cluster)
    [command] = cluster.builds
    assert command[:4] == ("minikube", "-p", "mine", "image")
    assert command[-2] == f"--build-opt={option}"
    assert "dev.local/v-functions:1 is there already" in cluster.told.getvalue()


def test_a_build_that_failed_ends_the_run() -> None:
    """Although minikube says nothing of it: the image is not there."""
    cluster = Cluster(fails="dev.local/v-convert:1")
    with pytest.raises(DeployError, match=r"could not build dev\.local/v-convert:1\. To see why: minikube -p minikube"):
        Minikube().build(WANTED, cluster)
    assert len(cluster.builds) == 2
