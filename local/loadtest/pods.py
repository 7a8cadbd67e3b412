"""Pods of a cluster: a watch through the official client, and what the metrics API says that they use."""

import random
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from local.loadtest.faults import Blow
from local.loadtest.processes import Usage

SERVICE: Final = "serving.knative.dev/service"
#: A watch that has nothing to tell ends after so long, and is made again.
_WATCH_SECONDS: Final = 60
_AGAIN_SECONDS: Final = 1.0
#: The metrics API has new numbers about so often.
_METRICS_SECONDS: Final = 10.0
_CPU: Final = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0}
_BYTES: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9, "": 1}


@dataclass(frozen=True)
class Pod:
    """A pod as it was last seen."""

    function: str
    #: `Pending`, `Starting` (it runs and is not ready), `Ready`, `Ending`, or how it ended.
    phase: str
    #: Seconds since 1970.
    created: float
    ready: float | None


def read_pod(told: dict[str, Any]) -> Pod:
    """Read a pod as the API has it, in its own spelling (v1.Pod as JSON)."""
    metadata, status = told["metadata"], told.get("status", {})
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    ready = conditions.get("Ready", {})
    is_ready = ready.get("status") == "True"
    phase = status.get("phase", "Pending")
    if metadata.get("deletionTimestamp"):
        phase = "Ending"
    elif phase == "Running":
        phase = "Ready" if is_ready else "Starting"
    return Pod(
        function=metadata["labels"][SERVICE],
        phase=phase,
        created=_moment(metadata["creationTimestamp"]),
        ready=_moment(ready["lastTransitionTime"]) if is_ready else None,
    )


def cpus(text: str) -> float:
    """Processors of a quantity such as `250m` or `12345n`."""
    unit = text[-1] if text[-1] in _CPU else ""
    return float(text.removesuffix(unit)) * _CPU[unit]


def size_bytes(text: str) -> int:
    """Bytes of a quantity such as `128Mi`."""
    unit = next((unit for unit in _BYTES if unit and text.endswith(unit)), "")
    return int(float(text.removesuffix(unit)) * _BYTES[unit])


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class Pods:
    """The pods of the functions in one namespace.

    Args:
        namespace: which one.
        context: of the kubeconfig; None for its present one.
    """

    def __init__(self, namespace: str, context: str | None = None) -> None:
        from kubernetes import client, config

        config.load_kube_config(context=context)
        self._core, self._custom = client.CoreV1Api(), client.CustomObjectsApi()
        self._serializer = client.ApiClient()
        self._namespace = namespace
        self._lock = threading.Lock()
        self._pods: dict[str, Pod] = {}
        self._starts: dict[str, tuple[str, float]] = {}
        self._usage: dict[str, Usage] = {}
        self._measured = 0.0
        self._began = time.time()
        #: Whether there is a metrics API; None before it was asked.
        self.has_metrics: bool | None = None
        threading.Thread(target=self._follow, name="pods", daemon=True).start()

    def instances(self) -> dict[str, dict[str, int]]:
        """How many pods of each function are in which phase, those that ended aside."""
        with self._lock:
            there = [pod for pod in self._pods.values() if pod.phase not in ("Succeeded", "Failed")]
        found: dict[str, Counter[str]] = {}
        for pod in there:
            found.setdefault(pod.function, Counter())[pod.phase] += 1
        return {name: dict(phases) for name, phases in found.items()}

    def starts(self) -> dict[str, list[float]]:
        """How long each pod took that was made during the burst, from its creation until it was ready, in seconds."""
        with self._lock:
            found: dict[str, list[float]] = {}
            for function, seconds in self._starts.values():
                found.setdefault(function, []).append(seconds)
        return found

    def usage(self) -> dict[str, Usage]:
        """What each function uses, as far as the metrics API tells: CPU seconds are its rates times the time."""
        now = time.monotonic()
        if self.has_metrics is not False and now - self._measured >= _METRICS_SECONDS:
            elapsed, self._measured = (now - self._measured if self._measured else 0.0), now
            self._measure(elapsed)
        return self._usage

    def _measure(self, elapsed_seconds: float) -> None:
        from kubernetes.client import ApiException

        try:
            told: Any = self._custom.list_namespaced_custom_object("metrics.k8s.io", "v1beta1", self._namespace, "pods")
        except ApiException:
            self.has_metrics = False
            return
        self.has_metrics = True
        for usage in self._usage.values():
            usage.memory_bytes = usage.instances = 0
        for pod in told["items"]:
            function = pod["metadata"].get("labels", {}).get(SERVICE)
            if function is None:
                continue
            usage = self._usage.setdefault(function, Usage())
            usage.instances += 1
            for container in pod["containers"]:
                usage.cpu_seconds += cpus(container["usage"]["cpu"]) * elapsed_seconds
                usage.memory_bytes += size_bytes(container["usage"]["memory"])

    def blows(self) -> dict[str, Blow]:
        """Faults of a cluster: pods that are ended at once."""
        selectors = {
            "convert": f"{SERVICE}=convert",
            "notify": f"{SERVICE}=notify",
            "upload": f"{SERVICE}=upload",
            "dispatcher": "eventing.knative.dev/brokerRole=dispatcher",
            "broker": "app.kubernetes.io/component=rabbitmq",
        }
        return {name: self._blow(selector) for name, selector in selectors.items()}

    def _blow(self, selector: str) -> Blow:
        def kill(chance: random.Random) -> bool:
            found: Any = self._core.list_namespaced_pod(self._namespace, label_selector=selector)
            names = [pod.metadata.name for pod in found.items if pod.status.phase == "Running"]
            if not names:
                return False
            self._core.delete_namespaced_pod(chance.choice(sorted(names)), self._namespace, grace_period_seconds=0)
            return True

        return kill

    def _follow(self) -> None:
        from kubernetes import watch

        while True:
            # A watch is cut off now and then; the list that begins the next one has what was missed.
            with suppress(Exception):
                listed: Any = self._core.list_namespaced_pod(self._namespace, label_selector=SERVICE)
                with self._lock:
                    self._pods.clear()
                for pod in listed.items:
                    self._see(self._serializer.sanitize_for_serialization(pod), gone=False)
                events: Any = watch.Watch().stream(
                    self._core.list_namespaced_pod,
                    self._namespace,
                    label_selector=SERVICE,
                    resource_version=listed.metadata.resource_version,
                    timeout_seconds=_WATCH_SECONDS,
                )
                for event in events:
                    self._see(event["raw_object"], gone=event["type"] == "DELETED")
            time.sleep(_AGAIN_SECONDS)

    def _see(self, told: dict[str, Any], *, gone: bool) -> None:
        pod, name = read_pod(told), told["metadata"]["uid"]
        with self._lock:
            if gone:
                self._pods.pop(name, None)
                return
            self._pods[name] = pod
            if pod.ready is not None and pod.created >= self._began:
                self._starts.setdefault(name, (pod.function, pod.ready - pod.created))
