"""What the cluster tests compute from what they see: pods that count, times of two clocks, and a line of the table."""

from datetime import UTC, datetime
from typing import Any, Final

import pytest
import requests

from tests.cluster.pods import counted
from tests.cluster.report import HEAD, line
from tests.cluster.traffic import Times, again, times

_NOON: Final = 1_767_268_800.0


def pod(function: str, phase: str = "Running", *, ready: str = "True", **metadata: str) -> dict[str, Any]:
    """A pod as `kubectl get pods -o json` tells it."""
    return {
        "metadata": {"labels": {"serving.knative.dev/service": function}, **metadata},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
    }


def test_pods_that_go_or_have_ended_do_not_count() -> None:
    """Those that start count, also before they take requests; of one without labels nobody knows whose it is."""
    items = [
        *(pod("convert"), pod("convert", "Pending", ready="False"), pod("jobs")),
        pod("jobs", deletionTimestamp="2026-01-01T12:00:00Z"),
        pod("upload", "Failed"),
        {"metadata": {}, "status": {"phase": "Running"}},
    ]
    assert counted({"items": items}) == {"convert": 2, "jobs": 1}
    assert counted({"items": items}, ready=True) == {"convert": 1, "jobs": 1}


@pytest.mark.parametrize("skew", [0.0, 100.0, -100.0])
def test_times_of_another_clock(skew: float) -> None:
    """The row was made while the POST lasted, so a clock that says otherwise is set by as little as it takes."""

    def told(seconds: float) -> str:
        return datetime.fromtimestamp(_NOON + seconds + skew, UTC).isoformat()

    job = {"created": told(1), "started": told(4), "finished": told(9)}
    found = times(job, sent=_NOON, accepted=_NOON + 2, mailed=_NOON + 10)
    assert (found.accepted, found.mailed) == (2.0, 10.0)
    assert found.converting is not None
    assert found.ended is not None
    assert found.converting == pytest.approx(4, abs=1)
    assert found.ended - found.converting == pytest.approx(5)


def test_a_line_of_the_table() -> None:
    """Numbers stand below their heads; what nobody could tell is a dash."""
    text = line("a cold start", Times(2.04, 4.5, None), {"convert": 2, "jobs": 1}, "no mailpit")
    assert text.endswith("convert 2, jobs 1; no mailpit")
    assert text.index("2.0") + len("2.0") == HEAD.index("202") + len("202")
    assert text.split()[3:7] == ["2.0", "4.5", "-", "-"]
    assert line("streams", None).split() == ["streams", "-", "-", "-", "-"]


def test_what_is_asked_again() -> None:
    """An answer that says when to ask again, and a broken connection, are followed by another try."""
    busy, last = requests.Response(), requests.Response()
    busy.headers["Retry-After"] = "0"
    answers: list[requests.Response | None] = [busy, None, last]

    def ask() -> requests.Response:
        answer = answers.pop(0)
        if answer is None:
            raise requests.ConnectionError
        return answer

    assert again(ask) is last
    answers.append(None)
    with pytest.raises(requests.ConnectionError):
        again(ask, seconds=0)
