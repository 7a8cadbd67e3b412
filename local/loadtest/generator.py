"""The load: locust without a screen, in a process of its own; `python -m local.loadtest.generator PLAN`.

gevent changes the standard library for a whole process, and the generator's processor time is to be known apart from
everything else. It reads the plan, says `ready`, begins at a line on its input, and writes a line of JSON for each
thing that happens, with its moment (seconds since 1970).
"""

import json
import resource
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

import gevent
from gevent.event import Event
from locust import FastHttpUser, task
from locust.env import Environment
from locust.exception import StopUser

#: How long the server may be silent.
_TIMEOUT_SECONDS: Final = 120.0
#: After which a connection that broke is tried again.
_AGAIN_SECONDS: Final = 0.5
_LARGE_BYTES: Final = 8 * 1024 * 1024


def say(what: str, **more: Any) -> None:
    """Write a line for whoever started us."""
    sys.stdout.write(json.dumps({"what": what, "at": time.time(), **more}) + "\n")
    sys.stdout.flush()


class Uploader(FastHttpUser):
    """Somebody who uploads one file, again and again until the server has taken it."""

    host = "http://localhost"
    network_timeout = _TIMEOUT_SECONDS
    connection_timeout = _TIMEOUT_SECONDS
    max_redirects = 0
    #: locust's default would hand tokens to whoever answers.
    insecure = False
    #: Of every request.
    headers: ClassVar[dict[str, str]] = {}
    #: Set when the burst begins.
    begun: ClassVar[Event] = Event()
    began: ClassVar[float] = 0.0
    patience_seconds: ClassVar[float] = 0.0
    orders: ClassVar[deque[dict[str, Any]]] = deque()
    #: Small files, which many upload at once.
    contents: ClassVar[dict[str, bytes]] = {}
    #: Jobs that have had their last word.
    ended: ClassVar[set[int]] = set()

    @task
    def upload(self) -> None:
        """Upload one file."""
        if not self.orders:
            raise StopUser
        order = self.orders.popleft()
        self.begun.wait()
        gevent.sleep(max(0.0, self.began + order["due"] - time.time()))
        gives_up = time.time() + self.patience_seconds
        while (again_seconds := self._once(order)) is not None:
            if time.time() + again_seconds > gives_up:
                say("given_up", job=order["number"])
                break
            gevent.sleep(again_seconds)
        self.ended.add(order["number"])
        raise StopUser

    def _once(self, order: dict[str, Any]) -> float | None:
        """Send it once; after how many seconds to send it again, None for never."""
        number = order["number"]
        headers = {
            **self.headers,
            "Authorization": f"Bearer {order['token']}",
            "Idempotency-Key": order["key"],
            "Content-Type": "application/octet-stream",
        }
        say("sent", job=number)
        content = self.contents.get(order["path"])
        if content is None:
            size_bytes = Path(order["path"]).stat().st_size
            with Path(order["path"]).open("rb") as file:
                answer = self._post(order, file, {**headers, "Content-Length": str(size_bytes)})
        else:
            answer = self._post(order, content, headers)
        # A server that is killed may have sent the head of its answer, and locust takes that for the whole of it.
        job_id = _member(answer, "id") if answer.status_code == 202 else None
        if job_id:
            say("accepted", job=number, id=job_id)
            return None
        if answer.status_code in (0, 202):
            say("broken", job=number, why=repr(answer.error) if answer.error else "the answer broke off")
            return _AGAIN_SECONDS
        wait = answer.headers.get("Retry-After")
        say("refused", job=number, status=answer.status_code, retry_after=wait, why=_detail(answer))
        if answer.status_code not in (409, 429, 502, 503, 504, 507):
            say("given_up", job=number)
            return None
        with suppress(TypeError, ValueError):
            return max(0.1, float(wait))
        return _AGAIN_SECONDS

    def _post(self, order: dict[str, Any], body: Any, headers: dict[str, str]) -> Any:
        path = f"/upload?{urlencode(order['query'])}"
        # A refusal is an answer like any other: what it means is decided by whoever reads our lines.
        with self.client.post(path, data=body, headers=headers, name="/upload", catch_response=True) as answer:
            if answer.status_code:
                answer.success()
        return answer


def _detail(answer: Any) -> str:
    return (_member(answer, "detail") or "")[:200]


def _member(answer: Any, name: str) -> str | None:
    """What an answer says under a name; None where it is no JSON, or only the beginning of it."""
    with suppress(ValueError, KeyError, TypeError):
        return str(answer.json()[name])
    return None


def main() -> None:
    """Run the plan to its end."""
    # A connection for each upload that is under way.
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    plan = json.loads(Path(sys.argv[1]).read_text())
    Uploader.host = plan["url"]
    Uploader.headers = plan["headers"]
    Uploader.patience_seconds = plan["patience"]
    Uploader.orders.extend(plan["jobs"])
    for path in {order["path"] for order in plan["jobs"]}:
        if Path(path).stat().st_size <= _LARGE_BYTES:
            Uploader.contents[path] = Path(path).read_bytes()
    jobs = len(plan["jobs"])
    runner = Environment(user_classes=[Uploader], host=plan["url"]).create_local_runner()
    runner.start(jobs, spawn_rate=max(100, jobs))
    while Uploader.orders:
        gevent.sleep(0.01)
    say("ready")
    sys.stdin.readline()
    Uploader.began = time.time()
    say("began")
    Uploader.begun.set()
    while len(Uploader.ended) < jobs:
        gevent.sleep(0.02)
    runner.quit()
    total = runner.stats.total
    say("done", requests=total.num_requests, p50=total.get_response_time_percentile(0.5))


if __name__ == "__main__":
    main()
