"""What one account and one address may do over HTTP: what they are told, and that nothing is left behind."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from functions.auth.failures import DELAYS_SECONDS, FREE_FAILURES
from functions.common.config import load
from tests.support.serving import PASSWORD, Api, Served
from tests.support.traces import blobs, change, rows
from tests.support.wire import Wire

_STORED: Final = 1_500_000
_ENV: Final = {"MAX_JOBS_PER_HOUR": "5", "MAX_QUEUED_JOBS": "2", "MAX_STORED_BYTES": str(_STORED)}
_WRONG: Final = "wrong password"


def login(server: Served, email: str, password: str) -> requests.Response:
    """Try to log in."""
    return requests.post(f"{server.url}/login", auth=(email, password), timeout=60)


def let_pass(server: Served, email: str) -> None:
    """Let an address's block be over."""
    key = hashlib.sha256(email.encode()).hexdigest()
    assert change(server.state, "UPDATE login_failures SET blocked_until = 1 WHERE address = ?", key) == 1


def exhaust(server: Served, email: str) -> None:
    """Fail so often that the address is blocked for five minutes."""
    for number in range(FREE_FAILURES + len(DELAYS_SECONDS)):
        if number > FREE_FAILURES:
            let_pass(server, email)
        assert login(server, email, _WRONG).status_code == 401


def check_problem(answer: requests.Response, status: int, **members: object) -> dict[str, Any]:
    """Make sure that an answer is this problem document; its members."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text
    told: dict[str, Any] = answer.json()
    assert told["request_id"] == answer.headers["X-Request-Id"]
    assert {**told, **members} == told
    return told


# Failed logins.


@pytest.mark.parametrize("registered", [True, False], ids=["account", "no account"])
def test_an_address_is_blocked_after_many_failures(server: Served, registered: bool) -> None:
    """After 5 and 9 more 429 says how long to wait, for right and wrong passwords and in any spelling alike."""
    email = f"blocked{registered}@example.com".lower()
    if registered:
        server.account(email)
    exhaust(server, email)
    told = []
    for spelled, password in ((email, PASSWORD), (email, _WRONG), (f" {email.upper()} ", PASSWORD)):
        answer = login(server, spelled, password)
        told.append(check_problem(answer, 429, retry_helps=True)["detail"])
        assert 0 < int(answer.headers["Retry-After"]) <= DELAYS_SECONDS[-1]
        assert "WWW-Authenticate" not in answer.headers
    assert len(set(told)) == 1
    let_pass(server, email)
    assert login(server, email, PASSWORD).status_code == (200 if registered else 401)


def test_the_answers_do_not_tell_who_has_an_account(server: Served) -> None:
    """A guess after the other, address with and without account get the same statuses, headers and words."""
    server.account("known@example.com")
    seen: dict[str, list[tuple[int, str, list[str]]]] = {"known@example.com": [], "unknown@example.com": []}
    for email, answers in seen.items():
        for _ in range(FREE_FAILURES + 4):
            answer = login(server, email, _WRONG)
            answers.append((answer.status_code, answer.json()["detail"], sorted(answer.headers)))
            change(server.state, "UPDATE login_failures SET blocked_until = 1 WHERE failures < ?", FREE_FAILURES + 3)
            # From then on for longer than the test lasts.
            longer = "UPDATE login_failures SET blocked_until = updated + 300000000 WHERE failures >= ?"
            change(server.state, longer, FREE_FAILURES + 3)
    known, unknown = seen.values()
    assert known == unknown
    assert [status for status, *_ in known] == [401] * (FREE_FAILURES + 3) + [429]


def test_a_success_makes_good(server: Served) -> None:
    """Five wrong passwords, a right one, and five wrong ones again block nobody, and leave no row."""
    server.account("forgetful@example.com")
    for _ in range(2):
        for _ in range(FREE_FAILURES):
            answer = login(server, "forgetful@example.com", _WRONG)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="video2mp3"')
        assert login(server, "forgetful@example.com", PASSWORD).status_code == 200
    key = hashlib.sha256(b"forgetful@example.com").hexdigest()
    assert rows(server.state, "SELECT * FROM login_failures WHERE address = ?", key) == []


def test_wrong_old_passwords_count_as_well(server: Served) -> None:
    """Who holds a token cannot guess the password by changing it, and guesses in both ways are one count."""
    api = server.account("changing@example.com")
    for _ in range(FREE_FAILURES):
        assert api.call("POST", "/password", json={"old": _WRONG, "new": "a new password"}).status_code == 403
    assert login(server, "changing@example.com", _WRONG).status_code == 401
    change(server.state, "UPDATE login_failures SET blocked_until = updated + 300000000 WHERE failures = 6")
    answer = api.call("POST", "/password", json={"old": PASSWORD, "new": "a new password"})
    check_problem(answer, 429, retry_helps=True)
    assert login(server, "changing@example.com", PASSWORD).status_code == 429
    let_pass(server, "changing@example.com")
    assert api.call("POST", "/password", json={"old": PASSWORD, "new": "a new password"}).status_code == 204
    assert login(server, "changing@example.com", "a new password").status_code == 200


# Quotas of an account.


@dataclass(frozen=True)
class Narrow:
    """Three functions alone, with small quotas, on one state; nobody converts."""

    state: Path
    auth: Served
    upload: Served
    jobs: Served


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Narrow]:
    """The functions, started."""
    state = tmp_path_factory.mktemp("narrow") / "state"
    away = {"BROKER_URL": "http://127.0.0.1:9/", **_ENV}
    with (
        Served(state, function="auth") as auth,
        Served(state, function="jobs", env=away) as jobs,
        Served(state, function="upload", env=away) as upload,
    ):
        yield Narrow(state, auth, upload, jobs)


class Account:
    """An account of the narrow server.

    Args:
        narrow: where.
        email: whose.
    """

    def __init__(self, narrow: Narrow, email: str) -> None:
        self.state = narrow.state
        self.upload = narrow.auth.account(email)
        self.upload.url = narrow.upload.url
        self.jobs = Api(narrow.jobs.url)
        self.jobs.headers = self.upload.headers
        self.owner = rows(self.state, "SELECT id FROM accounts WHERE email = ?", email)[0]["id"]

    def send(self, content: Any, **headers: str) -> requests.Response:
        """Upload a raw body."""
        return self.upload.call("POST", "/upload?filename=a.mp4", data=content, headers=headers)

    def rows(self) -> list[dict[str, Any]]:
        """Its jobs."""
        return rows(self.state, "SELECT * FROM jobs WHERE owner = ? ORDER BY id", self.owner)

    def put(self, columns: str, *values: object) -> None:
        """Change all of its jobs."""
        assert change(self.state, f"UPDATE jobs SET {columns} WHERE owner = ?", *values, self.owner)  # noqa: S608

    def limits(self) -> Any:
        """What the history tells."""
        answer = self.jobs.call("GET", "/jobs")
        assert answer.status_code == 200, answer.text
        return answer.json()["limits"]


_NUMBERS = iter(range(1000))


@pytest.fixture
def account(narrow: Narrow) -> Account:
    """An account without jobs."""
    return Account(narrow, f"narrow{next(_NUMBERS)}@example.com")


def media(size: int) -> bytes:
    """Bytes that are not surely no media."""
    return b"\0\0\0\x18ftypmp42".ljust(size, b"\0")


def only_head(account: Account, headers: dict[str, str]) -> tuple[int, Any, dict[str, Any]]:
    """Status, headers and problem of an upload whose body never comes."""
    with Wire(account.upload.url) as wire:
        wire.head("POST", "/upload", {**account.upload.headers, **headers})
        answer = wire.answer("POST")
        return answer.status, answer.headers, json.loads(answer.read())


def test_the_history_tells_the_limits(account: Account) -> None:
    """Each limit and how much of it is used, before it bites."""
    assert account.limits() == {
        "jobs_per_hour": {"limit": 5, "used": 0},
        "queued_jobs": {"limit": 2, "used": 0},
        "stored_bytes": {"limit": _STORED, "used": 0},
        "upload_bytes": {"limit": 5 * 1024**3},
    }
    assert account.send(media(1000)).status_code == 202
    assert [each["used"] for each in account.limits().values() if "used" in each] == [1, 1, 1000]


def test_at_home_there_are_no_quotas(api: Api, video: Path) -> None:
    """On a person's own machine the history says what is used, and that nothing bounds it but the size of a file."""
    api.ended(api.upload_id(video))
    limits = api.call("GET", "/jobs").json()["limits"]
    assert [limits[name]["limit"] for name in ("jobs_per_hour", "queued_jobs", "stored_bytes")] == [None] * 3
    assert limits["jobs_per_hour"]["used"] == 1
    assert limits["stored_bytes"]["used"] > video.stat().st_size
    assert limits["upload_bytes"]["limit"] == load({}).max_upload_bytes


def test_too_many_waiting_jobs(account: Account) -> None:
    """429 before the body is read, until a job has ended; retrying one is bounded in the same way."""
    first, second = (account.send(media(1000)).json()["id"] for _ in range(2))
    for length in ({"Content-Length": "1000000"}, {"Transfer-Encoding": "chunked"}):
        status, headers, told = only_head(account, length)
        assert (status, headers["Retry-After"], told["limit"], told["used"]) == (429, "10", 2, 2)
    assert len(account.rows()) == 2
    assert account.jobs.call("POST", f"/jobs/{first}/cancel").status_code == 200
    assert account.send(media(1000)).status_code == 202
    answer = account.jobs.call("POST", f"/jobs/{first}/retry")
    check_problem(answer, 429, limit=2, used=2, retry_helps=True)
    assert answer.headers["Retry-After"] == "10"
    assert account.jobs.call("POST", f"/jobs/{second}/retry").status_code == 409
    assert account.jobs.call("POST", "/jobs/01890000-0000-7000-8000-000000000000/retry").status_code == 404
    assert account.jobs.call("DELETE", f"/jobs/{second}").status_code == 204
    assert account.jobs.call("POST", f"/jobs/{first}/retry").status_code == 202


def test_too_many_jobs_in_an_hour(account: Account) -> None:
    """429 before the body is read; deleting is no way around; an hour after the oldest there is room again."""
    for _ in range(5):
        job_id = account.send(media(1000)).json()["id"]
        assert account.jobs.call("DELETE", f"/jobs/{job_id}").status_code == 204
    status, headers, told = only_head(account, {"Content-Length": "1000000"})
    assert (status, told["limit"], told["used"], told["retry_helps"]) == (429, 5, 5, True)
    assert 3000 < int(headers["Retry-After"]) <= 3600
    account.put("created = created - 3000000000")
    status, headers, _ = only_head(account, {"Content-Length": "1000000"})
    assert (status, 0 < int(headers["Retry-After"]) <= 600) == (429, True)
    account.put("created = created - 600000000")
    assert account.send(media(1000)).status_code == 202


def form(content: bytes) -> tuple[bytes, dict[str, str]]:
    """A form that holds a file, and its headers."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    return head + content + b"\r\n--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}


def test_an_announced_file_above_the_room_is_refused_before_the_body(account: Account) -> None:
    """507 comes at once, though nothing of the body was sent; a file of exactly the room is taken."""
    assert account.send(media(1_000_000)).status_code == 202
    status, _, told = only_head(account, {"Content-Length": "500001"})
    assert (status, told["limit"], told["used"], told["retry_helps"]) == (507, _STORED, 1_000_000, True)
    # What a form adds around its file is not counted.
    status, _, _ = only_head(account, {"Content-Length": "600000", **form(b"")[1]})
    assert status == 507
    assert len(account.rows()) == 1
    assert account.send(media(500_000)).status_code == 202


def test_no_room_at_all_is_told_before_the_body(account: Account) -> None:
    """Where nothing is left, a body of unknown length is refused unread as well; deleting makes room."""
    job_id = account.send(media(_STORED)).json()["id"]
    status, _, told = only_head(account, {"Transfer-Encoding": "chunked"})
    assert (status, told["used"]) == (507, _STORED)
    assert account.jobs.call("DELETE", f"/jobs/{job_id}").status_code == 204
    assert account.send(media(_STORED)).status_code == 202


def test_a_file_that_turns_out_too_long_leaves_nothing(account: Account) -> None:
    """Bytes are counted while they arrive, raw and in a form: 507, and neither row nor blob stays."""
    assert account.send(media(1_000_000)).status_code == 202
    before = blobs(account.state)
    content = media(500_001)
    body, headers = form(content)
    for answer in (
        account.send(iter([content])),
        account.send(iter([body]), **headers),
        account.send(body, **headers),
    ):
        check_problem(answer, 507, limit=_STORED, used=1_000_000)
    assert len(account.rows()) == 1
    assert blobs(account.state) == before
    assert account.send(iter([media(500_000)])).status_code == 202


def test_a_repeated_upload_is_answered_over_quota_too(account: Account) -> None:
    """Who repeats an upload that was taken gets its job, whatever became of the quotas meanwhile."""
    made = account.send(media(1000), **{"Idempotency-Key": "once"}).json()["id"]
    assert account.send(media(_STORED - 1000)).status_code == 202
    assert account.send(media(1000)).status_code == 429
    with Wire(account.upload.url) as wire:
        wire.head("POST", "/upload", {**account.upload.headers, "Idempotency-Key": "once", "Content-Length": "1000"})
        answer = wire.answer("POST")
        assert (answer.status, json.loads(answer.read())["id"]) == (202, made)


# One address.


def test_one_address_is_bounded(tmp_path: Path) -> None:
    """At the one-process run, requests and logins of one address: 429 with Retry-After, and probes go on."""
    env = {"REQUESTS_PER_MINUTE": "100", "LOGINS_PER_MINUTE": "5"}
    with Served(tmp_path / "state", env=env) as server:
        answers = [login(server, f"nobody{number}@example.com", _WRONG) for number in range(12)]
        # A minute may begin in between.
        assert 5 <= [answer.status_code for answer in answers].count(401) <= 10
        for _ in range(250):
            answer = requests.get(f"{server.url}/jobs", timeout=30)
            if answer.status_code != 401:
                break
        for refused in (answers[-1], answer):
            check_problem(refused, 429, retry_helps=True)
            assert 0 < int(refused.headers["Retry-After"]) <= 60
        assert requests.get(f"{server.url}/healthz", timeout=30).text == "ok\n"
