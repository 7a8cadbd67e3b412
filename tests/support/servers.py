"""The real servers that `local/services up` started, for the tests that run on them."""

import os
from functools import cache
from typing import Final

import pytest

from local.testservers.fleet import Fleet

#: What has to be up for a test on a backend, by the name under which `local/services env` prints it.
NAMES: Final = ("MYSQL_URL", "POSTGRES_URL", "MONGODB_URL", "S3_URL", "AMQP_URL", "SMTP_URL")


@cache
def urls() -> dict[str, str]:
    """What `local/services env` prints."""
    return Fleet().urls()


def url(name: str) -> str:
    """How a server is reached; without it the test is skipped on a laptop, and fails where `CI` is set."""
    found = urls().get(name)
    if found is None:
        reason = f"{name}: this server does not run; local/services up starts it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found
