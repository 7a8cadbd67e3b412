"""A gateway before stubs, per module; each test begins with stubs that have seen nothing."""

from collections.abc import Iterator

import pytest

from functions.common.config import NEEDS
from tests.gateway.nginx import Nginx
from tests.gateway.stub import Stub, serve


@pytest.fixture(scope="module")
def _functions() -> Iterator[Stub]:
    # The event functions are there as well, as in a cluster.
    with serve(*NEEDS) as stub:
        yield stub


@pytest.fixture(scope="module")
def gateway(_functions: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """Nginx before the stubs; its clients are what `X-Forwarded-For` says, as behind Knative's proxies."""
    unlimited = {"REQUESTS_PER_MINUTE": "0", "LOGINS_PER_MINUTE": "0"}
    with Nginx(tmp_path_factory.mktemp("gateway"), **_functions.env(), **unlimited) as nginx:
        yield nginx


@pytest.fixture
def stub(_functions: Stub) -> Stub:
    """The functions behind it."""
    _functions.seen.clear()
    _functions.answer = None
    return _functions
