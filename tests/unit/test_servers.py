"""A test that needs a server and has none is skipped on a laptop, and fails where `CI` is set."""

import pytest

from tests.support import servers


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_without_the_server(monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]) -> None:
    """The reason names what is missing, and how it is started."""
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(servers, "urls", dict)
    with pytest.raises(outcome, match=r"AMQP_URL.*local/services up"):
        servers.url("AMQP_URL")
