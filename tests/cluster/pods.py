"""How many pods each function has, from one second to the next."""

import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from tests.cluster.kube import Kube, KubectlError

SERVICE: Final = "serving.knative.dev/service"
_MAX: Final = "autoscaling.knative.dev/max-scale"
_MIN: Final = "autoscaling.knative.dev/min-scale"


def counted(listing: Mapping[str, Any], *, ready: bool = False) -> Counter[str]:
    """Count the pods of each function in what `kubectl get pods -o json` prints; those that are about to go are gone.

    Args:
        listing: the list.
        ready: count only those that take requests.
    """
    return Counter(
        pod["metadata"]["labels"][SERVICE]
        for pod in listing["items"]
        if SERVICE in pod["metadata"].get("labels", {})
        and "deletionTimestamp" not in pod["metadata"]
        and pod["status"].get("phase") in ("Pending", "Running")
        and (not ready or _is_ready(pod))
    )


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def listed(kube: Kube) -> dict[str, Any]:
    """All pods of functions."""
    return kube.read("pods", "-l", SERVICE)


def bounds(kube: Kube) -> dict[str, int]:
    """Each function that sleeps when nobody needs it, and how many pods it may have at most."""
    found = {}
    for function in kube.read("ksvc")["items"]:
        annotations = function["spec"]["template"]["metadata"].get("annotations", {})
        if annotations.get(_MIN, "0") == "0":
            found[function["metadata"]["name"]] = int(annotations.get(_MAX, "0"))
    return found


def fall_asleep(kube: Kube) -> None:
    """Wait until no function has a pod any more, those that are about to go included.

    A pod goes 90 s after its last request; the ping wakes recover every five minutes, which then takes as long.
    """
    sleepers = bounds(kube).keys()

    def look() -> bool:
        pods = listed(kube)["items"]
        running = [pod for pod in pods if pod["status"].get("phase") in ("Pending", "Running")]
        return not any(pod["metadata"]["labels"][SERVICE] in sleepers for pod in running)

    kube.until("every function sleeps", look, seconds=900, every_seconds=2)


class Pods:
    """Counts once a second, for as long as it is open.

    Args:
        kube: where.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._count, name="pods")
        #: What was seen, in order.
        self.samples: list[Counter[str]] = []
        #: Those of them that took requests.
        self.ready: list[Counter[str]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count no longer."""
        self._ends.set()
        self._thread.join()

    def _count(self) -> None:
        while not self._ends.is_set():
            # One look that fails is one look less.
            with suppress(KubectlError):
                listing = listed(self._kube)
                self.samples.append(counted(listing))
                self.ready.append(counted(listing, ready=True))
            self._ends.wait(1)

    def begin_anew(self) -> None:
        """Forget what was seen but the last look."""
        del self.samples[:-1], self.ready[:-1]

    @property
    def most(self) -> dict[str, int]:
        """The largest number of pods that each function had at once."""
        samples = list(self.samples)
        return {name: max(each[name] for each in samples) for name in sorted({n for each in samples for n in each})}
