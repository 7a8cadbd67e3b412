"""The one tree of errors that a client may see.

The class docstring is the message. Adapters translate what vendors raise into one of these, with `from`; only the
app factory turns them into an answer.
"""

from typing import ClassVar


class ServiceError(Exception):
    """The request could not be completed.

    Args:
        detail: one sentence for the person who reads the answer; the class docstring where None.
        retry_after_seconds: when trying again is worth it, sent as `Retry-After`.
        members: further members of the problem document (RFC 9457, section 3.2).
    """

    #: HTTP status of the answer.
    status: ClassVar[int] = 500
    #: Whether the same request may succeed later without being changed.
    retry_helps: ClassVar[bool] = False

    def __init__(self, detail: str | None = None, *, retry_after_seconds: int | None = None, **members: object) -> None:
        self.detail = detail or self.title()
        self.retry_after_seconds = retry_after_seconds
        self.members = members
        super().__init__(self.detail)

    @classmethod
    def title(cls) -> str:
        """The first line of the class docstring."""
        return (cls.__doc__ or "").strip().partition("\n")[0]


class Invalid(ServiceError):
    """The request is not valid."""

    status = 422


class Malformed(ServiceError):
    """The request cannot be read."""

    status = 400


class Unauthorized(ServiceError):
    """A valid access token is needed.

    Args:
        challenge: the scheme that `WWW-Authenticate` asks for.
    """

    status = 401

    def __init__(self, detail: str | None = None, *, challenge: str = "Bearer") -> None:
        super().__init__(detail)
        self.challenge = challenge


class Forbidden(ServiceError):
    """This is not allowed here."""

    status = 403


class NotFound(ServiceError):
    """There is no such thing here."""

    status = 404


class Conflict(ServiceError):
    """That does not fit the present state."""

    status = 409


class Gone(ServiceError):
    """This is no longer kept."""

    status = 410


class WrongVersion(ServiceError):
    """This version of the protocol is not spoken here."""

    status = 412


class TooLarge(ServiceError):
    """The file is larger than this service takes."""

    status = 413


class NotMedia(ServiceError):
    """This is not a video or audio file."""

    status = 415


class WrongType(ServiceError):
    """A body of this type is not taken here."""

    status = 415


class TooMany(ServiceError):
    """This was too often; please wait."""

    status = 429
    retry_helps = True


class Unavailable(ServiceError):
    """The service cannot do this right now; please try again."""

    status = 503
    retry_helps = True


class StorageFull(ServiceError):
    """There is no room left to store this."""

    status = 507
    retry_helps = True


class OverQuota(ServiceError):
    """The files that are kept for you take all your room."""

    status = 507
    # Each file is deleted in its time, if not by its owner.
    retry_helps = True


class BlobMissing(ServiceError):
    """The stored file is missing."""

    status = 410


class SettingError(ValueError):
    """A setting is missing or wrong; the message names the variable."""
