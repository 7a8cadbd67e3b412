"""Checking access tokens offline with auth's public keys; making them is auth's alone (`functions.auth.issuing`)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from functions.common.errors import SettingError, Unauthorized

ISSUER: Final = "video2mp3"
AUDIENCE: Final = "video2mp3"
#: The one algorithm (RFC 8037); what a token's header says about it is never asked.
ALGORITHM: Final = "EdDSA"


@dataclass(frozen=True)
class Principal:
    """Whom a token speaks for."""

    account_id: str
    #: Every claim of the token (RFC 7519).
    claims: Mapping[str, Any]


class Verifier:
    """Checks access tokens.

    Args:
        jwks: JSON Web Key Set with auth's public keys (RFC 7517).

    Raises:
        SettingError: the key set is none.
    """

    def __init__(self, jwks: str) -> None:
        try:
            keys = jwt.PyJWKSet.from_dict(json.loads(jwks)).keys
        except (ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
            raise SettingError("TOKEN_JWKS is not a JSON Web Key Set") from error
        self._keys = {key.key_id: key for key in keys if key.key_type == "OKP"}

    @property
    def key_ids(self) -> frozenset[str | None]:
        """Which keys it knows."""
        return frozenset(self._keys)

    def verify(self, token: str) -> Principal:
        """Check a token's signature, issuer, audience and times.

        Raises:
            Unauthorized: it does not hold; the answer does not say why.
        """
        try:
            key = self._keys[jwt.get_unverified_header(token).get("kid")]
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                options={"require": ["exp", "iat", "sub", "jti", "iss", "aud"]},
            )
        except (jwt.PyJWTError, KeyError, TypeError) as error:
            raise Unauthorized from error
        return Principal(account_id=claims["sub"], claims=claims)
