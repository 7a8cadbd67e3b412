"""The tree of errors: each class carries its message, its status, and whether trying again can help."""

import pytest

from functions.common import errors
from functions.common.errors import ServiceError, SettingError, Unauthorized

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServiceError)]
each_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
#: The whole tree; a new class is added here on purpose.
STATUSES = {
    "ServiceError": 500,
    "Malformed": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "Conflict": 409,
    "Gone": 410,
    "BlobMissing": 410,
    "WrongVersion": 412,
    "TooLarge": 413,
    "NotMedia": 415,
    "WrongType": 415,
    "Invalid": 422,
    "TooMany": 429,
    "Unavailable": 503,
    "StorageFull": 507,
    "OverQuota": 507,
}


def test_the_tree() -> None:
    """The classes and the statuses that clients see are these."""
    assert {kind.__name__: kind.status for kind in CLASSES} == STATUSES
    assert all(kind.__bases__ == (ServiceError,) for kind in CLASSES if kind is not ServiceError)


@each_class
def test_the_docstring_is_the_message(kind: type[ServiceError]) -> None:
    """A docstring's first line is one sentence for people, and what the error says by default."""
    title = kind.title()
    assert title == (kind.__doc__ or "").strip().splitlines()[0]
    assert title.endswith(".")
    assert 10 < len(title) < 80
    assert kind().detail == str(kind()) == title


@each_class
def test_a_detail_goes_before_the_docstring(kind: type[ServiceError]) -> None:
    """What is known of the case is told instead of the general sentence, which stays the title."""
    error = kind("This very file.")
    assert (error.detail, str(error), error.title()) == ("This very file.", "This very file.", kind.title())
    assert (error.retry_after_seconds, error.members) == (None, {})


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not Unauthorized], ids=lambda kind: kind.__name__)
def test_members(kind: type[ServiceError]) -> None:
    """Further members and a time to wait are carried along."""
    error = kind(field="end", retry_after_seconds=5)
    assert (error.members, error.retry_after_seconds) == ({"field": "end"}, 5)


@each_class
def test_where_trying_again_helps(kind: type[ServiceError]) -> None:
    """Only what the server itself lacks may be there later, and what an account has too much of gone."""
    assert kind.retry_helps is (kind.status in (429, 503, 507))


def test_challenge() -> None:
    """A refusal for want of a token names the scheme that is asked for."""
    assert Unauthorized().challenge == "Bearer"
    assert Unauthorized(challenge="Basic").challenge == "Basic"


def test_a_wrong_setting_is_no_answer() -> None:
    """What stops the start is for the operator, never for a client."""
    assert issubclass(SettingError, ValueError)
    assert not issubclass(SettingError, ServiceError)
