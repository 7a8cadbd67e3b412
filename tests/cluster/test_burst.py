"""`video2mp3 burst --url --namespace` on a cluster: pods from zero and back, and the proof by the API alone.

What these show needs a cluster: the watch, the metrics API, and pods that are killed are seen nowhere else.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.cluster.conftest import NAMESPACE, Record
from tests.cluster.kube import Kube
from tests.cluster.pods import bounds, fall_asleep
from tests.cluster.traffic import Door
from tests.support.command import COMMAND

_JOBS = 10
_SECONDS = 1800


def made(folder: Path, door: Door, *words: str) -> dict[str, Any]:
    """The report of a burst that kept every promise it could see."""
    command = [COMMAND, "burst", "--url", door.url, "--host", door.host, "--namespace", NAMESPACE, "-o", str(folder)]
    said = subprocess.run(
        [*command, "--jobs", str(_JOBS), "--seconds", "2-5", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def test_a_burst_from_zero_and_back(kube: Kube, door: Door, record: Record, tmp_path: Path) -> None:
    """Convert goes from no pod to several and back to none; starts and their seconds are in the report."""
    fall_asleep(kube)
    report = made(tmp_path, door)
    figures, samples = report["figures"], report["samples"]
    pods = [sum(sample["instances"].get("convert", {}).values()) for sample in samples]
    assert pods[0] == 0
    assert 1 <= max(pods) <= bounds(kube)["convert"]
    assert pods[-1] == 0
    assert figures["cold_starts"] >= 1
    assert [verdict["kept"] for verdict in report["proof"]] == [True, True, True, None, None, True]
    record(f"burst of {_JOBS} jobs from zero", None, {"convert": max(pods)}, f"{figures['total_seconds']:.0f} s in all")


def test_a_burst_whose_pods_are_killed(door: Door, tmp_path: Path) -> None:
    """Pods of functions, dispatchers and RabbitMQ go away meanwhile; nothing is lost."""
    report = made(tmp_path, door, "--faults", "--seed", "1", "--patience", "900")
    assert report["faults"]
