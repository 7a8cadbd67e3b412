"""Making access tokens (RFC 7519) and publishing the key they are checked with; only auth holds the private key."""

import hashlib
import json
import time
import uuid
from base64 import urlsafe_b64encode
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from functions.common.errors import SettingError
from functions.common.tokens import ALGORITHM, AUDIENCE, ISSUER


class Issuer:
    """Issues access tokens.

    Args:
        private_key: an Ed25519 key as PEM.
        token_seconds: how long a token lives.

    Raises:
        SettingError: the key is none.
    """

    def __init__(self, private_key: str, *, token_seconds: int) -> None:
        try:
            key = load_pem_private_key(private_key.encode(), password=None)
        except (ValueError, TypeError) as error:
            raise SettingError("TOKEN_PRIVATE_KEY is not a private key in PEM") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SettingError("TOKEN_PRIVATE_KEY must be an Ed25519 key")
        self._key = key
        self.token_seconds = token_seconds
        public: dict[str, Any] = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
        self._public = {**public, "kid": _thumbprint(public), "use": "sig", "alg": ALGORITHM}
        #: Which of the public keys its tokens are checked with.
        self.key_id: str = self._public["kid"]

    def issue(self, account_id: str, email: str) -> str:
        """Make an access token for an account."""
        moment = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": account_id,
            "email": email,
            "iat": moment,
            "exp": moment + self.token_seconds,
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self.key_id})

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        return {"keys": [self._public]}


@lru_cache(maxsize=4)
def issuer(private_key: str, token_seconds: int) -> Issuer:
    """The issuer for these settings; reading the key once per process is enough."""
    return Issuer(private_key, token_seconds=token_seconds)


def _thumbprint(jwk: dict[str, Any]) -> str:
    # RFC 7638: the required members (RFC 8037, section 2) in lexical order, without white space.
    members = {name: jwk[name] for name in ("crv", "kty", "x")}
    digest = hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
