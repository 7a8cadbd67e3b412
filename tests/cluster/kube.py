"""kubectl: what is asked of the cluster, waited for and applied, in the one namespace that the tests look at."""

import base64
import json
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

T = TypeVar("T")
#: What a wait that was in vain shows.
_SHOWN: Final = "ksvc,triggers.eventing.knative.dev,brokers.eventing.knative.dev,pods"


class KubectlError(AssertionError):
    """kubectl said no; the text has its own words."""


class Kube:
    """One namespace of the cluster that KUBECONFIG names.

    Args:
        namespace: where the system is.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def run(self, *words: str, given: str | None = None, namespace: str = "", seconds: float = 120) -> str:
        """What a command prints.

        Args:
            words: those behind `kubectl -n NAMESPACE`.
            given: its standard input, which is never shown.
            namespace: another one than ours.
            seconds: how long it may take.

        Raises:
            KubectlError: it failed, or took longer.
        """
        command = ["kubectl", "-n", namespace or self.namespace, *words]
        try:
            ended = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise KubectlError(f"{' '.join(command)}\ntook longer than {seconds:.0f} s") from error
        if ended.returncode:
            raise KubectlError(f"{' '.join(command)}\n{ended.stderr.strip() or ended.stdout.strip()}")
        return ended.stdout

    def read(self, *words: str) -> dict[str, Any]:
        """What `kubectl get` knows of an object, or of a list of them."""
        found: dict[str, Any] = json.loads(self.run("get", *words, "-o", "json"))
        return found

    def has(self, kind: str, name: str, *, namespace: str = "") -> bool:
        """Whether there is such an object."""
        return bool(self.run("get", kind, name, "--ignore-not-found", "-o", "name", namespace=namespace).strip())

    def secret(self, name: str) -> dict[str, str]:
        """The values of a Secret."""
        return {key: base64.b64decode(value).decode() for key, value in self.read("secret", name)["data"].items()}

    def apply(self, document: Mapping[str, Any]) -> None:
        """Make an object, or change it, in our namespace."""
        self.run("apply", "-f", "-", given=json.dumps(document))

    def ready(self, what: str, *, seconds: float = 240) -> None:
        """Wait until an object, KIND/NAME, is ready."""
        try:
            self.run("wait", what, "--for=condition=Ready", f"--timeout={seconds:.0f}s", seconds=seconds + 60)
        except KubectlError as error:
            raise KubectlError(f"{error}\n{self.run('get', what, '-o', 'yaml')}\n{self.shown()}") from error

    def shown(self) -> str:
        """What a person would look at first."""
        try:
            return self.run("get", _SHOWN, "-o", "wide")
        except KubectlError as error:
            return str(error)

    def until(self, what: str, look: Callable[[], T], *, seconds: float, every_seconds: float = 1.0) -> T:
        """Look again and again until the answer is true, and return it.

        Raises:
            AssertionError: it never was; the text says what stands in the cluster then.
        """
        ends = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > ends:
                raise AssertionError(f"not within {seconds:.0f} s: {what}; last seen: {found!r}\n{self.shown()}")
            time.sleep(every_seconds)
        return found
