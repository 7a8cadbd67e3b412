"""Images built inside minikube, where no registry is needed."""

import shlex
from dataclasses import dataclass
from typing import Final

from local.deploy.rendering import IMAGES, ROOT, Wanted
from local.deploy.runner import DeployError, Runner

#: Minikube marks its nodes with it, whatever their kubectl context is called.
_PROFILE_LABEL: Final = "minikube.k8s.io/name"


@dataclass(frozen=True)
class Minikube:
    """A minikube cluster.

    Its two builders are told differently which part of a Dockerfile is wanted: `docker build --target NAME`, and
    `buildctl build --opt target=NAME` where the nodes run containerd, as they do by default since minikube 1.39.
    """

    profile: str = "minikube"
    containerd: bool = False

    def build(self, wanted: Wanted, runner: Runner) -> None:
        """Build the images that are not there yet.

        Raises:
            DeployError: one could not be built.
        """
        there = self._images(runner)
        for target in IMAGES:
            image = wanted.image(target)
            if image in there:
                runner.say(f"{image} is there already.")
                continue
            option = f"--build-opt={'opt=' if self.containerd else ''}target={target}"
            build = ("minikube", "-p", self.profile, "image", "build", "-t", image, "-f", "knative/Dockerfile", option)
            runner.run(*build, str(ROOT))
            # A build that failed ends like one that did not.
            if not runner.dry_run and image not in self._images(runner):
                raise DeployError(f"minikube could not build {image}. To see why: {shlex.join((*build, str(ROOT)))}")

    def _images(self, runner: Runner) -> str:
        return runner.ask("minikube", "-p", self.profile, "image", "ls")


def find(runner: Runner) -> Minikube | None:
    """The minikube that the kubectl context leads to, if it leads to one."""
    for node in runner.items("kubectl", "get", "nodes"):
        profile = node["metadata"].get("labels", {}).get(_PROFILE_LABEL)
        if profile:
            return Minikube(profile, node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd:"))
    return None
