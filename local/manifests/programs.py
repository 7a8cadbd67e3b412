"""The programs that read manifests, each compiled once from its Go module."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local.testservers import golang
from local.testservers.fleet import cache_folder

#: What programs are started with: no PATH, where git would be found, and a proxy that nobody is. So they stay offline,
#: and whatever a person has set up for kubectl or kn stays out of it.
_ENVIRONMENT: Final = {"HOME": "/nonexistent", "HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}


class ManifestError(Exception):
    """A program can't go on with what it was given; the text has its words."""


@dataclass(frozen=True)
class Program:
    """A program that no package brings."""

    name: str
    module: str
    version: str
    #: Where in the module its `main` is.
    package: str

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return cache_folder() / f"{self.name}-{self.version}"

    def install(self, say: Callable[[str], None]) -> None:
        """Compile it unless that was done.

        Raises:
            ServerError: that is not possible.
        """
        if self.path.exists():
            return
        with golang.alone(self.path.parent, self.name):
            if self.path.exists():
                return
            say(f"compiling {self.name} {self.version}: minutes, the first time")
            with golang.copied(self.module, self.version) as source:
                golang.build(source, self.package, self.path)

    def run(self, *arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        """Run it offline to its end, whatever this is.

        Args:
            arguments: of the command line.
            text: what it reads on its standard input.
        """
        command = [str(self.path), *arguments]
        return subprocess.run(command, env=_ENVIRONMENT, input=text, capture_output=True, encoding="utf-8", check=False)


#: The version that kubectl 1.34 has inside.
KUSTOMIZE: Final = Program("kustomize", "sigs.k8s.io/kustomize/kustomize/v5", "v5.7.1", ".")
KUBECONFORM: Final = Program("kubeconform", "github.com/yannh/kubeconform", "v0.8.0", "./cmd/kubeconform")
KN: Final = Program("kn", "knative.dev/client", "v0.42.0", "./cmd/kn")
PROGRAMS: Final = (KUSTOMIZE, KUBECONFORM, KN)
