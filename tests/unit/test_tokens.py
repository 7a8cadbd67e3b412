"""Access tokens: what auth issues holds, and nothing else does."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from flask import Request
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from functions.auth.issuing import Issuer
from functions.common.bearer import principal
from functions.common.errors import SettingError, Unauthorized
from functions.common.tokens import Verifier

ACCOUNT: Final = "01890a5d-ac96-774b-bcce-b302099a8057"


def pem(key: Any) -> str:
    """A private key as PEM."""
    text: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text.decode()


KEY: Final = Ed25519PrivateKey.generate()
ISSUER: Final = Issuer(pem(KEY), token_seconds=60)
JWKS: Final = json.dumps(ISSUER.jwks())
VERIFIER: Final = Verifier(JWKS)
KID: Final = ISSUER.jwks()["keys"][0]["kid"]


def claims(**changed: object) -> dict[str, object]:
    """The claims of a right token; those that are None are left out."""
    moment = int(time.time())
    right = {
        "iss": "video2mp3",
        "aud": "video2mp3",
        "sub": ACCOUNT,
        "jti": "1",
        "iat": moment,
        "exp": moment + 60,
        "email": "a@example.com",
        **changed,
    }
    return {name: value for name, value in right.items() if value is not None}


def signed(headers: Mapping[str, Any] | None = None, **changed: object) -> str:
    """A token that is signed with the right key, whatever it says."""
    return jwt.encode(claims(**changed), KEY, algorithm="EdDSA", headers={"kid": KID, **(headers or {})})


def part(value: object) -> str:
    """One part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_what_is_issued_holds() -> None:
    """A token speaks for its account, by what is public of the key alone."""
    token = ISSUER.issue(ACCOUNT, "a@example.com")
    who = VERIFIER.verify(token)
    assert (who.account_id, who.claims["sub"], who.claims["email"]) == (ACCOUNT, ACCOUNT, "a@example.com")
    assert who.claims["exp"] - who.claims["iat"] == 60
    assert frozenset({ISSUER.key_id}) == VERIFIER.key_ids
    assert ISSUER.issue(ACCOUNT, "a@example.com") != token


def test_the_right_claims_hold() -> None:
    """The token that the refusals below are changed from is accepted."""
    assert VERIFIER.verify(signed()).account_id == ACCOUNT


@pytest.mark.parametrize(
    "changed",
    [
        *({name: None} for name in ("iss", "aud", "sub", "jti", "iat", "exp")),
        {"iss": "somebody"},
        {"aud": "somebody"},
        {"aud": []},
        {"exp": int(time.time()) - 1},
        {"exp": 0},
        {"exp": "soon"},
        {"iat": int(time.time()) + 3600},
        {"nbf": int(time.time()) + 3600},
        {"iat": "x"},
        {"sub": 7},
        {"sub": ["a"]},
        {"jti": 7},
    ],
    ids=lambda changed: next(iter(changed)),  # not the times, which differ between the processes of a parallel run
)
def test_claims_that_do_not_hold(changed: dict[str, Any]) -> None:
    """A token that lacks a claim, is for or by somebody else, or whose time is not now, is refused without a reason."""
    with pytest.raises(Unauthorized) as caught:
        VERIFIER.verify(signed(**changed))
    assert caught.value.detail == Unauthorized.title()


def without_signature(algorithm: str) -> str:
    """A token that says it needs no signature."""
    return f"{part({'alg': algorithm, 'kid': KID, 'typ': 'JWT'})}.{part(claims())}."


def by_shared_secret(secret: bytes) -> str:
    """A token that is signed with what everybody knows of the key, as if that were a secret."""
    text = f"{part({'alg': 'HS256', 'kid': KID})}.{part(claims())}"
    mac = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def by_another_key() -> str:
    """A token of another auth that claims to have our key."""
    return jwt.encode(claims(), Ed25519PrivateKey.generate(), algorithm="EdDSA", headers={"kid": KID})


def with_its_own_key() -> str:
    """A token that brings the key along that it should be checked with."""
    key = Ed25519PrivateKey.generate()
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return jwt.encode(claims(), key, algorithm="EdDSA", headers={"kid": KID, "jwk": jwk})


def by_another_algorithm() -> str:
    """A token of an elliptic curve that is not ours."""
    return jwt.encode(claims(), generate_private_key(SECP256R1()), algorithm="ES256", headers={"kid": KID})


def changed_afterwards() -> str:
    """A right token whose claims were replaced."""
    head, _, signature = signed().split(".")
    return f"{head}.{part(claims(sub='somebody'))}.{signature}"


FORGERIES: Final[Mapping[str, Callable[[], str]]] = {
    "none": lambda: without_signature("none"),
    "None": lambda: without_signature("None"),
    "EdDSA without signature": lambda: without_signature("EdDSA"),
    "public key as secret": lambda: by_shared_secret(
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ),
    "raw public key as secret": lambda: by_shared_secret(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)),
    "key set as secret": lambda: by_shared_secret(JWKS.encode()),
    "another key": by_another_key,
    "its own key": with_its_own_key,
    "another algorithm": by_another_algorithm,
    "changed afterwards": changed_afterwards,
    "no kid": lambda: jwt.encode(claims(), KEY, algorithm="EdDSA"),
    "unknown kid": lambda: signed({"kid": "other"}),
    "empty kid": lambda: signed({"kid": ""}),
    "unknown critical header": lambda: signed({"crit": ["exp2"], "exp2": 1}),
    "kid is a list": lambda: f"{part({'alg': 'EdDSA', 'kid': [KID]})}.{part(claims())}.AAAA",
    "kid is an object": lambda: f"{part({'alg': 'EdDSA', 'kid': {'a': 1}})}.{part(claims())}.AAAA",
    "header is a list": lambda: f"{part([])}.{part(claims())}.AAAA",
    "claims are a list": lambda: jwt.api_jws.encode(b"[]", KEY, algorithm="EdDSA", headers={"kid": KID}),
    "claims are no JSON": lambda: jwt.api_jws.encode(b"{", KEY, algorithm="EdDSA", headers={"kid": KID}),
    "cut": lambda: signed()[:-5],
    "two parts": lambda: signed().rpartition(".")[0],
    "four parts": lambda: signed() + ".x",
    "nothing": lambda: "",
    "dots": lambda: "..",
    "words": lambda: "let me in",
    "other letters": lambda: "ä.ö.ü",
    "very long": lambda: "A" * 60_000,
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forgeries(forgery: str) -> None:
    """What auth did not sign, just as it is, is refused; what a token says of its key is not asked."""
    with pytest.raises(Unauthorized):
        VERIFIER.verify(FORGERIES[forgery]())


@given(
    st.text(max_size=80)
    | st.lists(st.binary(max_size=40), min_size=3, max_size=3).map(
        lambda parts: ".".join(base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in parts)
    )
)
def test_garbage(token: str) -> None:
    """Any text at all is refused as no token, and by no other error."""
    with pytest.raises(Unauthorized):
        VERIFIER.verify(token)


@pytest.mark.parametrize(
    "jwks",
    ["", "x", "[]", "{}", "null", "7", '{"keys": 7}', '{"keys": []}', '{"keys": [7]}', '{"keys": [{"kty": "OKP"}]}'],
)
def test_what_is_no_key_set(jwks: str) -> None:
    """A verifier does not start without keys to check with, and names the setting."""
    with pytest.raises(SettingError, match="TOKEN_JWKS"):
        Verifier(jwks)


def test_keys_of_other_kinds_are_not_used() -> None:
    """A shared secret in the key set never checks a token."""
    secret = {"kty": "oct", "kid": "shared", "alg": "HS256", "k": base64.urlsafe_b64encode(b"s" * 32).decode()}
    verifier = Verifier(json.dumps({"keys": [secret, *ISSUER.jwks()["keys"]]}))
    assert verifier.verify(signed()).account_id == ACCOUNT
    with pytest.raises(Unauthorized):
        verifier.verify(jwt.encode(claims(), b"s" * 32, algorithm="HS256", headers={"kid": "shared"}))


def test_two_keys_in_a_time_of_change() -> None:
    """While keys are being replaced, the tokens of both hold, and each only by its own."""
    other = Issuer(pem(Ed25519PrivateKey.generate()), token_seconds=60)
    both = Verifier(json.dumps({"keys": [*ISSUER.jwks()["keys"], *other.jwks()["keys"]]}))
    assert both.verify(other.issue(ACCOUNT, "a@b")).account_id == ACCOUNT
    assert both.verify(signed()).account_id == ACCOUNT
    with pytest.raises(Unauthorized):
        both.verify(signed({"kid": other.jwks()["keys"][0]["kid"]}))


def test_the_published_key_is_public() -> None:
    """The key set has what a verifier needs, by the standards' names, and nothing of the private half."""
    [jwk] = ISSUER.jwks()["keys"]
    raw = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert {name: jwk[name] for name in ("kty", "crv", "use", "alg")} == {
        "kty": "OKP",
        "crv": "Ed25519",
        "use": "sig",
        "alg": "EdDSA",
    }
    assert jwk["x"] == base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    assert "d" not in jwk
    members = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": jwk["x"]}, separators=(",", ":"))
    thumbprint = hashlib.sha256(members.encode()).digest()
    assert jwk["kid"] == base64.urlsafe_b64encode(thumbprint).rstrip(b"=").decode()


@pytest.mark.parametrize("key", ["", "x", pem(generate_private_key(SECP256R1()))], ids=["empty", "text", "elliptic"])
def test_what_is_no_signing_key(key: str) -> None:
    """The function auth does not start with another kind of key, names the setting, and does not show it."""
    with pytest.raises(SettingError, match="TOKEN_PRIVATE_KEY") as caught:
        Issuer(key, token_seconds=1)
    assert "PRIVATE KEY-----" not in str(caught.value)


def request(authorization: str | None) -> Request:
    """A request with an Authorization header."""
    headers = [] if authorization is None else [("Authorization", authorization)]
    return Request(EnvironBuilder(headers=headers).get_environ())


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_bearer(scheme: str) -> None:
    """The token is taken from the header, whose scheme has no case."""
    assert principal(request(f"{scheme} {signed()}"), VERIFIER).account_id == ACCOUNT


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer x", "Basic YTpi", "Token abc", "Bearer a=b", "Bearer a, b", "\x00"],
)
def test_no_bearer(authorization: str | None) -> None:
    """Whatever else is there is refused with a challenge for a Bearer token."""
    with pytest.raises(Unauthorized) as caught:
        principal(request(authorization), VERIFIER)
    assert caught.value.challenge == "Bearer"


def test_a_token_under_another_scheme() -> None:
    """A right token is none under the name of another scheme."""
    for scheme in ("Basic", "Token", "Digest", "DPoP"):
        with pytest.raises(Unauthorized):
            principal(request(f"{scheme} {signed()}"), VERIFIER)
