"""How often one address may ask: counted by the minute, each address by itself, and forgotten afterwards."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from local.server.rates import Rates


class Clock:
    """A clock that is turned by hand."""

    seconds = 600.0

    def __call__(self) -> float:
        """What it shows."""
        return self.seconds


def ask(rates: Rates, address: str = "127.0.0.1", *, method: str = "GET", path: str = "/jobs") -> int:
    """Ask once."""
    return rates.wait_seconds(address, method=method, path=path)


def test_a_minute() -> None:
    """What is too much is told how long the minute still lasts, rounded up, and may ask when it is over."""
    clock = Clock()
    rates = Rates(requests_per_minute=2, logins_per_minute=0, clock=clock)
    assert [ask(rates) for _ in range(4)] == [0, 0, 60, 60]
    clock.seconds += 59.5
    assert ask(rates) == 1
    clock.seconds += 0.5
    assert [ask(rates) for _ in range(3)] == [0, 0, 60]


def test_addresses_by_themselves() -> None:
    """One address that asks too much takes nothing from another, and none is remembered for longer than it counts."""
    clock = Clock()
    rates = Rates(requests_per_minute=1, logins_per_minute=0, clock=clock)
    assert [ask(rates, f"127.0.{number}.1") for number in range(200)] == [0] * 200
    assert ask(rates, "127.0.0.1") > 0
    clock.seconds += 60
    ask(rates)
    assert len(rates._counts) == 1


@pytest.mark.parametrize("path", ["/login", "/register", "/password"])
def test_logins_count_as_requests_too(path: str) -> None:
    """The stricter of the two limits holds."""
    rates = Rates(requests_per_minute=2, logins_per_minute=10, clock=Clock())
    assert [ask(rates, method="POST", path=path) for _ in range(3)] == [0, 0, 60]
    assert ask(rates) == 60


def test_none() -> None:
    """0 is no limit, and probes are never counted."""
    rates = Rates(requests_per_minute=0, logins_per_minute=0, clock=Clock())
    assert not any(ask(rates, method="POST", path="/login") for _ in range(1000))
    rates = Rates(requests_per_minute=1, logins_per_minute=1, clock=Clock())
    assert not any(ask(rates, path="/healthz") for _ in range(1000))
    assert ask(rates) == 0


def test_many_threads() -> None:
    """Requests that come at the same moment are each counted once."""
    rates = Rates(requests_per_minute=500, logins_per_minute=0, clock=Clock())
    with ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(lambda _: ask(rates), range(1000))) == [0] * 500 + [60] * 500
