"""Tokens that auth did not issue, or not for this, open no route at all."""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tests.support.serving import Api, Served


@dataclass(frozen=True)
class _Forger:
    """Knows everything that a token is made of: the key, the claims and the header of a good one."""

    key: Ed25519PrivateKey
    claims: dict[str, Any]
    header: dict[str, Any]
    #: What an attacker may have read at /.well-known/jwks.json.
    jwk: dict[str, Any] = field(default_factory=dict)

    def token(self, key: Any = None, *, algorithm: str = "EdDSA", drop: str = "", **claims: Any) -> str:
        """A token like the good one but for what is given."""
        changed = {name: value for name, value in {**self.claims, **claims}.items() if name != drop}
        return jwt.encode(changed, key or self.key, algorithm=algorithm, headers={"kid": self.header["kid"]})

    def headed(self, header: dict[str, Any]) -> str:
        """The good claims, signed with the good key, under another header."""
        signed = f"{_part(header)}.{_part(self.claims)}"
        return f"{signed}.{_text(self.key.sign(signed.encode()))}"

    def hashed(self, secret: bytes) -> str:
        """The good claims under HS256 with a secret that is none."""
        signed = f"{_part({**self.header, 'alg': 'HS256'})}.{_part(self.claims)}"
        return f"{signed}.{_text(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _part(value: dict[str, Any]) -> str:
    return _text(json.dumps(value).encode())


@pytest.fixture(scope="module")
def good(server: Served) -> str:
    """A token as auth issues it."""
    return server.account("victim@example.com").headers["Authorization"].removeprefix("Bearer ")


@pytest.fixture(scope="module")
def job_id(server: Served, video: Path) -> str:
    """A finished job of the victim."""
    api = server.account("victim@example.com")
    job_id = api.upload_id(video)
    api.ended(job_id)
    return job_id


@pytest.fixture(scope="module")
def forger(server: Served, good: str) -> _Forger:
    """The means of forgery, taken from the server's own state directory."""
    pem = json.loads((server.state / "keys.json").read_text())["TOKEN_PRIVATE_KEY"]
    key = load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    claims = jwt.decode(good, options={"verify_signature": False})
    (jwk,) = Api(server.url).call("GET", "/.well-known/jwks.json").json()["keys"]
    return _Forger(key, claims, jwt.get_unverified_header(good), jwk)


def _pem(forger: _Forger) -> bytes:
    return forger.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _resigned(forger: _Forger) -> str:
    """A good token whose claims were changed and whose signature was not."""
    header, _, signature = forger.token().split(".")
    return f"{header}.{_part({**forger.claims, 'sub': 'somebody-else'})}.{signature}"


_FORGERIES: dict[str, Callable[[_Forger], str]] = {
    "signed with another key": lambda f: f.token(Ed25519PrivateKey.generate()),
    "changed after signing": _resigned,
    "without its signature": lambda f: f.token().rpartition(".")[0] + ".",
    "over since a while": lambda f: f.token(iat=int(time.time()) - 7200, exp=int(time.time()) - 3600),
    "over since a second": lambda f: f.token(exp=int(time.time()) - 1),
    "issued in the future": lambda f: f.token(iat=int(time.time()) + 3600, exp=int(time.time()) + 7200),
    "not valid yet": lambda f: f.token(nbf=int(time.time()) + 3600),
    "alg none": lambda f: f"{_part({**f.header, 'alg': 'none'})}.{_part(f.claims)}.",
    "alg None with a signature": lambda f: f.headed({**f.header, "alg": "None"}),
    "HS256 with the public key as PEM": lambda f: f.hashed(_pem(f)),
    "HS256 with the public key as JSON": lambda f: f.hashed(json.dumps(f.jwk).encode()),
    "HS256 with the public key's bytes": lambda f: f.hashed(urlsafe_b64decode(f.jwk["x"] + "=")),
    "for another audience": lambda f: f.token(aud="another"),
    "from another issuer": lambda f: f.token(iss="another"),
    "without audience": lambda f: f.token(drop="aud"),
    "without issuer": lambda f: f.token(drop="iss"),
    "without end": lambda f: f.token(drop="exp"),
    "without subject": lambda f: f.token(drop="sub"),
    "without kid": lambda f: f.headed({"alg": "EdDSA", "typ": "JWT"}),
    "with an unknown kid": lambda f: f.headed({**f.header, "kid": "unknown"}),
    "with a kid of another type": lambda f: f.headed({**f.header, "kid": ["a"]}),
    "with a key of its own": lambda f: f.headed({"alg": "EdDSA", "jwk": f.jwk}),
    "with a header that is no object": lambda f: f"{_text(b'[]')}.{_part(f.claims)}.{_text(bytes(64))}",
    "with claims that are no object": lambda f: f"{f.token().split('.')[0]}.{_text(b'[]')}.{_text(bytes(64))}",
    "with a subject that is no text": lambda f: f.token(sub=["a"]),
    "no token at all": lambda _: "nonsense",
    "two dots": lambda _: "..",
    "very long": lambda _: "x" * 4_000,
}


def _routes(job_id: str) -> list[tuple[str, str]]:
    return [
        ("POST", "/validate"),
        ("POST", "/password"),
        ("POST", "/upload"),
        ("GET", "/jobs"),
        ("GET", "/jobs/events"),
        ("GET", f"/jobs/{job_id}"),
        ("GET", f"/jobs/{job_id}/events"),
        ("POST", f"/jobs/{job_id}/cancel"),
        ("POST", f"/jobs/{job_id}/retry"),
        ("GET", f"/download?fid={job_id}"),
        ("HEAD", f"/download?fid={job_id}"),
        ("DELETE", f"/jobs/{job_id}"),
    ]


def _statuses(api: Api, job_id: str) -> dict[tuple[str, str], int]:
    return {route: api.call(*route).status_code for route in _routes(job_id)}


def test_the_forgers_tools_make_good_tokens(server: Served, forger: _Forger, job_id: str) -> None:
    """Unchanged, what the forger makes is let in: each refusal below is due to its one change."""
    for token in (forger.token(), forger.headed(forger.header)):
        assert Api(server.url, token).call("POST", "/validate").json() == forger.claims
        assert Api(server.url, token).job(job_id)["state"] == "succeeded"


@pytest.mark.parametrize("forgery", _FORGERIES)
def test_a_forged_token_is_refused_everywhere(server: Served, forger: _Forger, job_id: str, forgery: str) -> None:
    """401 on every route, and the answer does not say what is wrong with the token."""
    api = Api(server.url, _FORGERIES[forgery](forger))
    assert set(_statuses(api, job_id).values()) == {401}, _statuses(api, job_id)
    answer = api.call("GET", "/jobs")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="video2mp3"'
    assert answer.json()["detail"] == "A valid access token is needed."


@pytest.mark.parametrize("scheme", ["Basic {}", "{}", "Bearer", "Token {}", "Bearer {} {}"])
def test_a_token_under_another_scheme_is_refused(server: Served, good: str, job_id: str, scheme: str) -> None:
    """Only `Authorization: Bearer TOKEN` is a token (RFC 6750, section 2.1)."""
    api = Api(server.url)
    api.headers = {"Authorization": scheme.format(good, good)}
    assert set(_statuses(api, job_id).values()) == {401}


def test_a_token_in_the_query_is_refused(server: Served, good: str) -> None:
    """What stands in a query ends up in logs and histories, so it opens nothing."""
    for name in ("access_token", "token"):
        assert Api(server.url).call("GET", f"/jobs?{name}={good}").status_code == 401


def test_functions_alone_refuse_forgeries_too(server: Served, forger: _Forger, good: str, job_id: str) -> None:
    """Each function checks tokens itself, with nothing but the public keys of its settings."""
    keys = json.loads((server.state / "keys.json").read_text())
    env = {"BROKER_URL": "http://127.0.0.1:9/"}
    assert "d" not in json.loads(keys["TOKEN_JWKS"])["keys"][0]
    with Served(server.state, function="jobs", env=env) as jobs:
        assert Api(jobs.url, good).call("GET", f"/jobs/{job_id}").status_code == 200
        for forgery, make in _FORGERIES.items():
            assert Api(jobs.url, make(forger)).call("GET", f"/jobs/{job_id}").status_code == 401, forgery
