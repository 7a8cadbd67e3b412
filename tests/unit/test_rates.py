"""How often one address may ask: counted by the minute, each address by itself."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.server.rates import Rates


def ask(rates: Rates, address: str = "127.0.0.1", *, method: str = "GET", path: str = "/jobs") -> int:
    """Ask once."""
    return rates.wait_seconds(address, method=method, path=path)


def test_too_much_is_told_for_how_long() -> None:
    """Whoever asks once too often waits for the end of a minute at most."""
    rates = Rates(requests_per_minute=2, logins_per_minute=0)
    assert [ask(rates) for _ in range(2)] == [0, 0]
    assert all(1 <= ask(rates) <= 60 for _ in range(3))


def test_addresses_by_themselves() -> None:
    """One address that asks too much takes nothing from another."""
    rates = Rates(requests_per_minute=1, logins_per_minute=0)
    assert [ask(rates, f"127.0.{number}.1") for number in range(200)] == [0] * 200
    assert ask(rates, "127.0.0.1") > 0


@pytest.mark.parametrize("path", ["/login", "/register", "/password"])
def test_logins_count_as_requests_too(path: str) -> None:
    """The stricter of the two limits holds."""
    rates = Rates(requests_per_minute=2, logins_per_minute=10)
    assert [bool(ask(rates, method="POST", path=path)) for _ in range(3)] == [False, False, True]
    assert ask(rates) > 0
    rates = Rates(requests_per_minute=10, logins_per_minute=1)
    assert [bool(ask(rates, method="POST", path=path)) for _ in range(2)] == [False, True]
    assert ask(rates) == 0


def test_none() -> None:
    """0 is no limit, and probes are never counted."""
    rates = Rates(requests_per_minute=0, logins_per_minute=0)
    assert not any(ask(rates, method="POST", path="/login") for _ in range(1000))
    rates = Rates(requests_per_minute=1, logins_per_minute=1)
    assert not any(ask(rates, path="/healthz") for _ in range(1000))
    assert ask(rates) == 0


def test_many_threads() -> None:
    """Requests that come at the same moment are each counted once."""
    rates = Rates(requests_per_minute=500, logins_per_minute=0)
    with ThreadPoolExecutor(16) as pool:
        assert sum(map(bool, pool.map(lambda _: ask(rates), range(1000)))) == 500


def test_the_library_is_loaded_when_something_is_limited() -> None:
    """A start does not wait for it."""
    program = "import sys; import local.server.run, local.server.gateway; print('limits' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
