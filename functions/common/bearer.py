"""Who is asking: the Bearer token of a request (RFC 6750)."""

from typing import TYPE_CHECKING

from flask import Request

from functions.common.errors import Unauthorized

if TYPE_CHECKING:
    from functions.common.tokens import Principal, Verifier


def principal(request: Request, verifier: "Verifier") -> "Principal":
    """Read and check the token of the Authorization header.

    Raises:
        Unauthorized: there is none, or it does not hold.
    """
    authorization = request.authorization
    if authorization is None or authorization.type != "bearer" or not authorization.token:
        raise Unauthorized
    return verifier.verify(authorization.token)
