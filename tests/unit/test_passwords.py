"""Passwords: how they are hashed, that a missing account costs as much, and that a flood waits its turn."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from functions.auth import passwords
from functions.auth.accounts import Account, Accounts
from functions.auth.failures import Failures
from functions.auth.passwords import AT_ONCE, check_password, hash_password
from functions.auth.service import change_password, login, register
from functions.common.app import create_app
from functions.common.backends import Backends
from functions.common.config import load
from functions.common.database import Database
from functions.common.errors import Conflict, Forbidden, Invalid, TooMany, Unauthorized, Unavailable

PASSWORD: Final = "correct horse"
EMAIL: Final = "someone@example.com"


def test_parameters() -> None:
    """A hash is argon2id with m = 19 MiB, t = 2, p = 1 and a random salt of at least 16 bytes."""
    first, second = hash_password(PASSWORD), hash_password(PASSWORD)
    match = re.fullmatch(r"\$argon2id\$v=19\$m=19456,t=2,p=1\$([A-Za-z0-9+/]{22,})\$[A-Za-z0-9+/]{43}", first)
    assert match is not None
    assert first != second
    assert match[1] not in second


@pytest.mark.parametrize("password", [PASSWORD, "pässwörd \U0001f511", "x" * 1024, " spaces ", "nul\0byte"])
def test_check(password: str) -> None:
    """The password fits its hash, and no other does, not even one that differs in its last letter or case."""
    stored = hash_password(password)
    assert check_password(password, stored)
    for other in (password[:-1], password + "x", password.swapcase() + "y", ""):
        assert not check_password(other, stored)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells how much memory a process has")
def test_a_hash_gives_its_memory_back() -> None:
    """After a few logins in several threads a process is as small as before, to a few megabytes."""
    program = """
import re, threading
from pathlib import Path
from passlib.hash import argon2
from functions.auth.passwords import hash_password

def megabytes():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000

argon2.using(memory_cost=64).hash("loads the library")
before = megabytes()
for _ in range(4):
    thread = threading.Thread(target=hash_password, args=["correct horse"])
    thread.start()
    thread.join()
print(megabytes() - before)
"""
    assert float(subprocess.check_output([sys.executable, "-c", program], text=True)) < 5


class Scheme:
    """A hash that tells how many work on it at once, and on what."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.verified: list[str] = []
        self.lock = threading.Lock()
        self.let = threading.Event()

    def hash(self, _password: str) -> str:
        """Work until it is let end."""
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.let.wait(5)
        with self.lock:
            self.now -= 1
        return "hash"

    def verify(self, password: str, stored: str) -> bool:
        """The same."""
        self.verified.append(stored)
        self.hash(password)
        return True


@pytest.fixture
def scheme(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scheme]:
    """A hash that takes as long as the test wants."""
    fake = Scheme()
    monkeypatch.setattr(passwords, "_scheme", lambda: fake)
    yield fake
    fake.let.set()


def test_two_at_once(scheme: Scheme) -> None:
    """However many log in, two hashes are worked on at a time, and all get their turn."""
    with ThreadPoolExecutor(8) as pool:
        done: list[Future[Any]] = [pool.submit(hash_password, PASSWORD) for _ in range(4)]
        done += [pool.submit(check_password, PASSWORD, "x") for _ in range(4)]
        ends = time.monotonic() + 5
        while scheme.now < AT_ONCE and time.monotonic() < ends:
            time.sleep(0.001)
        scheme.let.set()
        assert len([future.result(5) for future in done]) == 8
    assert (AT_ONCE, scheme.most) == (2, 2)


@pytest.mark.parametrize("work", [lambda: hash_password(PASSWORD), lambda: check_password(PASSWORD, None)])
def test_the_third_is_sent_away(work: Any, scheme: Scheme, monkeypatch: pytest.MonkeyPatch) -> None:
    """While two turns are held the third is told to come again, and takes no memory meanwhile."""
    monkeypatch.setattr(passwords, "_WAIT_SECONDS", 0.05)
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(hash_password, PASSWORD) for _ in range(2)]
        ends = time.monotonic() + 5
        while scheme.now < AT_ONCE and time.monotonic() < ends:
            time.sleep(0.001)
        with pytest.raises(Unavailable) as caught:
            work()
        assert caught.value.retry_after_seconds is not None
        assert scheme.most == 2
        scheme.let.set()
        assert [future.result(5) for future in held] == ["hash", "hash"]
    assert hash_password(PASSWORD) == "hash"


def test_a_turn_is_given_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash that fails does not take its turn with it."""

    class Broken:
        def hash(self, _password: str) -> str:
            raise RuntimeError("broken")

    monkeypatch.setattr(passwords, "_scheme", Broken)
    monkeypatch.setattr(passwords, "_WAIT_SECONDS", 0.05)
    for _ in range(5):
        with pytest.raises(RuntimeError, match="broken"):
            hash_password(PASSWORD)


FIRST = """
import sys, threading
from functions.auth import passwords
sys.setswitchinterval(1e-6)
start, failures = threading.Barrier(4), []
def first():
    start.wait()
    try:
        passwords._scheme()
    except Exception as error:
        failures.append(error)
threads = [threading.Thread(target=first) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.exit(str(failures) if failures else 0)
"""


def test_the_first_logins_may_come_at_once() -> None:
    """Passlib loads a scheme when it is first asked for, which several threads may do at the same moment."""
    for _ in range(5):
        assert subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=False).stderr == ""


def test_nobodys_password(scheme: Scheme) -> None:
    """For an account that does not exist a hash of the same cost is checked, and nothing fits."""
    scheme.let.set()
    assert check_password(PASSWORD, None) is False
    [stored] = scheme.verified
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_nobodys_password_really() -> None:
    """That hash is one that can be checked."""
    assert check_password(PASSWORD, None) is False
    assert check_password("", None) is False


@pytest.fixture
def accounts(tmp_path: Any) -> Iterator[Accounts]:
    """No accounts yet."""
    database = Database(f"sqlite:///{tmp_path}/a.db")
    yield Accounts(database)
    database.close()


@pytest.fixture
def failures(accounts: Accounts) -> Failures:
    """No failed logins yet."""
    return Failures(accounts._database)


def test_register_and_log_in(accounts: Accounts, failures: Failures) -> None:
    """An account is found by its address in any spelling, with its password and no other."""
    account = register(" Someone@EXAMPLE.com ", PASSWORD, accounts=accounts, open_=True)
    assert account.email == EMAIL
    assert login("SOMEONE@example.com", PASSWORD, accounts=accounts, failures=failures).id == account.id
    for email, password in ((EMAIL, "wrong horse"), ("nobody@example.com", PASSWORD), ("no address", PASSWORD)):
        with pytest.raises(Unauthorized) as caught:
            login(email, password, accounts=accounts, failures=failures)
        assert (caught.value.detail, caught.value.challenge) == ("The address or the password is wrong.", "Basic")


def test_register_twice(accounts: Accounts) -> None:
    """An address has one account, whatever its letters' case."""
    register(EMAIL, PASSWORD, accounts=accounts, open_=True)
    with pytest.raises(Conflict):
        register(EMAIL.upper(), "another horse", accounts=accounts, open_=True)


def test_registration_is_closed(accounts: Accounts) -> None:
    """Where registration is closed nobody is taken."""
    with pytest.raises(Forbidden):
        register(EMAIL, PASSWORD, accounts=accounts, open_=False)
    assert accounts.by_email(EMAIL) is None


@pytest.mark.parametrize(
    ("email", "password", "field"),
    [
        (EMAIL, "1234567", "password"),
        (EMAIL, "x" * 1025, "password"),
        (EMAIL, EMAIL, "password"),
        (EMAIL, EMAIL.upper(), "password"),
        ("", PASSWORD, "email"),
        ("someone", PASSWORD, "email"),
        ("a@b@example.com", PASSWORD, "email"),
        ("someone@example.com\nBcc: x@example.com", PASSWORD, "email"),
        ("someone@[127.0.0.1]", PASSWORD, "email"),
        ("x" * 300 + "@example.com", PASSWORD, "email"),
        ("\ud800@example.com", PASSWORD, "email"),
    ],
    ids=range(11),
)
def test_what_will_not_do(accounts: Accounts, email: str, password: str, field: str) -> None:
    """A weak or impossible password and what is no address are refused by their field."""
    with pytest.raises(Invalid) as caught:
        register(email, password, accounts=accounts, open_=True)
    assert caught.value.members == {"field": field}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        # What JSON can spell, but UTF-8 cannot.
        (
            b'{"email": "someone@example.com", "password": "\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800"}',
            422,
        ),
        (b'{"email": "\\ud800@example.com", "password": "correct horse"}', 422),
        (b'{"email": "someone@example.com", "password": 12345678}', 422),
        (b'{"email": "someone@example.com"}', 422),
        (b"[]", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 60_000, 400),
    ],
    ids=range(8),
)
def test_bodies_that_are_none(body: bytes, status: int) -> None:
    """Whatever JSON is no address and password is refused as such, and never breaks the server."""
    client = create_app("auth", Backends(load({}))).test_client()
    answer = client.post("/register", data=body, content_type="application/json")
    assert answer.status_code == status


@pytest.mark.parametrize("password", ["1" * 8, "x" * 1024])
def test_what_will_just_do(accounts: Accounts, failures: Failures, password: str) -> None:
    """The shortest and the longest password are taken, and let in."""
    register(EMAIL, password, accounts=accounts, open_=True)
    assert login(EMAIL, password, accounts=accounts, failures=failures).email == EMAIL
    with pytest.raises(Unauthorized):
        login(EMAIL, password + "x", accounts=accounts, failures=failures)


def test_change_password(accounts: Accounts, failures: Failures) -> None:
    """A new password needs the old one, holds from then on, and must be as good as a first one."""
    account = register(EMAIL, PASSWORD, accounts=accounts, open_=True)
    with pytest.raises(Forbidden):
        change_password(account.id, "wrong horse", "new battery", accounts=accounts, failures=failures)
    with pytest.raises(Invalid):
        change_password(account.id, PASSWORD, "short", accounts=accounts, failures=failures)
    change_password(account.id, PASSWORD, "new battery", accounts=accounts, failures=failures)
    assert login(EMAIL, "new battery", accounts=accounts, failures=failures).id == account.id
    with pytest.raises(Unauthorized):
        login(EMAIL, PASSWORD, accounts=accounts, failures=failures)
    with pytest.raises(Unauthorized):
        change_password("0" * 36, PASSWORD, "new battery", accounts=accounts, failures=failures)


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com", "no address"])
def test_a_blocked_guess_is_not_hashed(accounts: Accounts, failures: Failures, scheme: Scheme, email: str) -> None:
    """An address that has to wait costs no hash, whether the password is right or there is an account at all."""
    scheme.let.set()
    account = accounts.add(EMAIL, "hash")
    assert account is not None
    for _ in range(20):
        failures.count(email)
    with pytest.raises(TooMany) as caught:
        login(email, PASSWORD, accounts=accounts, failures=failures)
    assert caught.value.retry_after_seconds is not None
    if email == EMAIL:
        with pytest.raises(TooMany):
            change_password(account.id, PASSWORD, "new battery", accounts=accounts, failures=failures)
    assert scheme.verified == []


def test_change_password_twice_at_once(accounts: Accounts, failures: Failures) -> None:
    """Of two changes that saw the same old password the second is refused."""
    account = register(EMAIL, PASSWORD, accounts=accounts, open_=True)

    class Late(Accounts):
        def by_id(self, account_id: str) -> Account | None:
            found = super().by_id(account_id)
            assert found is not None
            assert self.set_password(found, "changed by somebody else")
            return found

    with pytest.raises(Conflict):
        change_password(account.id, PASSWORD, "new battery", accounts=Late(accounts._database), failures=failures)
