"""/register, /login, /validate, /password and the public keys."""

import hashlib
import json
import time
from base64 import urlsafe_b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import jwt
import pytest
import requests
from requests.auth import HTTPBasicAuth

from local.server.state import settings
from tests.support.serving import PASSWORD, Api, Served

_AT_ONCE = 150
#: Two hashes of 19 MiB at a time, and what 150 waiting requests take.
_MOST_MEGABYTES = 90.0


def _register(server: Served, email: object, password: object) -> requests.Response:
    return requests.post(f"{server.url}/register", json={"email": email, "password": password}, timeout=30)


def _login(server: Served, email: str, password: str, **headers: str) -> requests.Response:
    auth = HTTPBasicAuth(email.encode(), password.encode())
    return requests.post(f"{server.url}/login", auth=auth, headers=headers, timeout=60)


def test_an_account_is_made_by_json_and_by_form(server: Served) -> None:
    """Both ways give 201 and an account that can log in."""
    made = _register(server, "json@example.com", PASSWORD)
    assert (made.status_code, made.json()["email"]) == (201, "json@example.com")
    form = {"email": "form@example.com", "password": PASSWORD}
    made = requests.post(f"{server.url}/register", data=form, timeout=30)
    assert (made.status_code, made.json()["email"]) == (201, "form@example.com")
    for email in ("json@example.com", "form@example.com"):
        assert _login(server, email, PASSWORD).status_code == 200


def test_an_address_can_be_taken_once(server: Served) -> None:
    """409 for the second, in whatever letter case, and the first one's password stays."""
    assert _register(server, "taken@example.com", PASSWORD).status_code == 201
    for spelled in ("taken@example.com", "Taken@Example.COM", " taken@example.com "):
        assert _register(server, spelled, "another password").status_code == 409
    assert _login(server, "taken@example.com", PASSWORD).status_code == 200
    assert _login(server, "taken@example.com", "another password").status_code == 401


def test_registrations_of_one_address_at_once_make_one_account(server: Served) -> None:
    """Of eight at the same moment one wins, and the others are told."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: _register(server, "race@example.com", f"{PASSWORD}{n}"), range(8)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 7}


@pytest.mark.parametrize(
    "email",
    [
        "",
        "a",
        "a@",
        "@b.example",
        "a b@example.com",
        "a@b@example.com",
        "a@example",
        "a\r\nBcc: b@example.com",
        "x" * 400,
    ],
)
def test_what_is_no_address_is_refused(server: Served, email: str) -> None:
    """422 says which field is wrong."""
    answer = _register(server, email, PASSWORD)
    assert (answer.status_code, answer.json()["field"]) == (422, "email")
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("password", ["", "1234567", "x" * 1025, "Weak@Example.com", "weak@example.com"])
def test_a_weak_password_is_refused(server: Served, password: str) -> None:
    """Too short, too long, or the address itself: 422 and no account."""
    answer = _register(server, "weak@example.com", password)
    assert (answer.status_code, answer.json()["field"]) == (422, "password")
    assert _login(server, "weak@example.com", password).status_code == 401


@pytest.mark.parametrize("password", ["12345678", "x" * 1024, "pass:word:", "Пароль-日本語", " " * 8, "nul\0nul\0nul"])
def test_every_other_password_works(server: Served, password: str) -> None:
    """Length limits are inclusive, and no character is special; one character less is another password."""
    email = f"p{hashlib.sha256(password.encode()).hexdigest()[:12]}@example.com"
    assert _register(server, email, password).status_code == 201
    assert _login(server, email, password).status_code == 200
    assert _login(server, email, password[:-1]).status_code == 401
    assert _login(server, email, password + "x").status_code == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ("", 400),
        ("[]", 400),
        ("null", 400),
        ('{"email": "a@example.com"}', 422),
        ('{"email": 1, "password": "12345678"}', 422),
        ('{"email": "a@example.com", "password": ["12345678"]}', 422),
        ('{"email": "\\ud800@example.com", "password": "12345678"}', 422),
    ],
)
def test_a_malformed_body_is_refused(server: Served, body: str, status: int) -> None:
    """What is no JSON object is 400, what lacks a text is 422; both are problem documents."""
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{server.url}/register", data=body, headers=headers, timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


def test_a_body_that_is_nested_without_end_is_refused(server: Served) -> None:
    """Sixty thousand opening brackets are malformed JSON like any other."""
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{server.url}/register", data="[" * 60_000, headers=headers, timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")


def test_half_a_character_in_a_password_is_refused(server: Served) -> None:
    """JSON can spell what no UTF-8 holds; it is the client's mistake, not ours."""
    body = '{"email": "half@example.com", "password": "12345678\\ud800"}'
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{server.url}/register", data=body, headers=headers, timeout=30)
    assert answer.status_code in (400, 422)


def _padded(size_bytes: int) -> bytes:
    body = json.dumps({"email": "large@example.com", "password": PASSWORD}).encode()
    return body.ljust(size_bytes)


def test_a_large_body_is_refused(server: Served) -> None:
    """More than 64 KiB are 413 as a problem document, on every path that takes a small body."""
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{server.url}/register", data=_padded(64 * 1024 + 1), headers=headers, timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (413, "application/problem+json")
    answer = requests.post(f"{server.url}/register", data=_padded(64 * 1024), headers=headers, timeout=30)
    assert answer.status_code == 201


def test_a_large_body_of_unknown_length_is_refused(server: Served) -> None:
    """The limit holds without a Content-Length too."""
    body = _padded(64 * 1024 + 1).replace(b"large@", b"chunked@")
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{server.url}/register", data=iter([body]), headers=headers, timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (413, "application/problem+json")


def test_closed_registration_is_said_so(tmp_path: Path) -> None:
    """403 where the operator closed it, for new and for taken addresses alike; who has an account logs in."""
    with Served(tmp_path / "state") as server:
        assert _register(server, "early@example.com", PASSWORD).status_code == 201
    with Served(tmp_path / "state", env={"REGISTRATION": "closed"}) as server:
        for email in ("late@example.com", "early@example.com"):
            assert _register(server, email, PASSWORD).status_code == 403
        assert _login(server, "early@example.com", PASSWORD).status_code == 200


def test_login_gives_the_token_alone(server: Served, api: Api) -> None:
    """`TOKEN=$(curl -X POST -u mail:password .../login)` takes the whole body for the token."""
    _register(server, "plain@example.com", PASSWORD)
    answer = _login(server, "plain@example.com", PASSWORD)
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.text == answer.text.strip()
    assert Api(server.url, answer.text).call("GET", "/jobs").status_code == 200
    assert answer.text not in api.headers["Authorization"]


def test_login_gives_json_to_who_asks_for_it(server: Served) -> None:
    """With Accept: application/json the answer is an OAuth-like object (RFC 6749, section 5.1)."""
    _register(server, "json-login@example.com", PASSWORD)
    answer = _login(server, "json-login@example.com", PASSWORD, Accept="application/json")
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 86_400)
    assert set(body) == {"access_token", "token_type", "expires_in"}
    assert Api(server.url, body["access_token"]).call("POST", "/validate").status_code == 200
    for accept in ("*/*", "text/plain", "text/html,application/json;q=0.9"):
        told = _login(server, "json-login@example.com", PASSWORD, Accept=accept).headers["Content-Type"]
        assert told.startswith("text/plain"), accept


def test_a_wrong_login_is_401_with_a_challenge(server: Served) -> None:
    """No, half, foreign and wrong credentials get one answer, which names the scheme and nothing else."""
    _register(server, "challenge@example.com", PASSWORD)
    wrong = [
        requests.post(f"{server.url}/login", timeout=30),
        requests.post(f"{server.url}/login", headers={"Authorization": "Basic !!!"}, timeout=30),
        requests.post(f"{server.url}/login", headers={"Authorization": "Bearer x"}, timeout=30),
        _login(server, "challenge@example.com", ""),
        _login(server, "challenge@example.com", "wrong password"),
        _login(server, "challenge@example.com", "x" * 5000),
        _login(server, "missing@example.com", PASSWORD),
        _login(server, "no address", PASSWORD),
        _login(server, "", ""),
    ]
    for answer in wrong:
        assert (answer.status_code, answer.headers["Content-Type"]) == (401, "application/problem+json")
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="video2mp3"'
    assert len({answer.json()["detail"] for answer in wrong[3:]}) == 1


def test_the_letter_case_of_an_address_does_not_matter(server: Served) -> None:
    """However it is spelled at registration and login, it is one account."""
    assert _register(server, "Mixed.Case@Example.Com", PASSWORD).status_code == 201
    subjects = set()
    for spelled in ("mixed.case@example.com", "MIXED.CASE@EXAMPLE.COM", "Mixed.Case@Example.Com"):
        token = _login(server, spelled, PASSWORD).text
        subjects.add(jwt.decode(token, options={"verify_signature": False})["sub"])
    assert len(subjects) == 1


def test_a_missing_account_costs_what_a_wrong_password_costs(server: Served) -> None:
    """The time of an answer does not tell whether an address has an account, from the very first login on."""
    _register(server, "warm@example.com", PASSWORD)
    _login(server, "warm@example.com", "warming up")
    seconds: dict[str, list[float]] = {"present": [], "missing": []}
    for number in range(3):
        _register(server, f"present{number}@example.com", PASSWORD)
        # The first failures of an address cost nothing, and more would be blocked.
        for _ in range(3):
            for word, taken in seconds.items():
                began = time.perf_counter()
                assert _login(server, f"{word}{number}@example.com", "wrong password").status_code == 401
                taken.append(time.perf_counter() - began)
    present, missing = (median(taken) for taken in seconds.values())
    assert 0.5 < missing / present < 2


@pytest.mark.parametrize("function", [None, "auth"], ids=["one process", "gunicorn"])
def test_a_flood_of_logins_exhausts_nothing(tmp_path: Path, function: str | None) -> None:
    """Of 150 at once each is answered 200 or 503 with Retry-After, in bounded memory, and then all is well."""
    with Served(tmp_path / "state", function=function, afresh=True) as server:
        _register(server, "flood@example.com", PASSWORD)
        pid = server.process.pid
        if function:
            pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        idle = _megabytes(pid, "VmRSS")
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = list(pool.map(lambda _: _login(server, "flood@example.com", PASSWORD), range(_AT_ONCE)))
        statuses = Counter(answer.status_code for answer in answers)
        assert set(statuses) <= {200, 503}
        assert statuses[200] > 0
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers if answer.status_code == 503)
        assert _login(server, "flood@example.com", PASSWORD).status_code == 200
        assert _megabytes(pid, "VmHWM") - idle < _MOST_MEGABYTES


def _megabytes(pid: int, what: str) -> float:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(f"{what}:"))
    return int(line.split()[1]) / 1000


def test_validate_tells_the_claims(server: Served) -> None:
    """200 with whom the token speaks for and until when; 401 without one."""
    api = server.account("claims@example.com")
    claims = api.call("POST", "/validate").json()
    assert claims["email"] == "claims@example.com"
    assert (claims["iss"], claims["aud"]) == ("video2mp3", "video2mp3")
    assert claims["exp"] - claims["iat"] == 86_400
    assert abs(claims["iat"] - time.time()) < 60
    answer = Api(server.url).call("POST", "/validate")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="video2mp3"')


def test_tokens_live_as_long_as_the_settings_say(tmp_path: Path) -> None:
    """After TOKEN_SECONDS a token opens nothing any more."""
    with Served(tmp_path / "state", env={"TOKEN_SECONDS": "1"}) as server:
        api = server.account()
        claims = jwt.decode(api.headers["Authorization"].split()[1], options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == 1
        time.sleep(max(0.0, claims["exp"] + 0.1 - time.time()))
        assert api.call("POST", "/validate").status_code == 401


def test_a_password_is_changed_with_the_old_one(server: Served) -> None:
    """The new one works and the old one does not; a wrong old one is 403 and changes nothing."""
    api = server.account("changing@example.com")
    wrong = api.call("POST", "/password", json={"old": "not it at all", "new": "a new password"})
    assert wrong.status_code == 403
    assert _login(server, "changing@example.com", PASSWORD).status_code == 200
    assert api.call("POST", "/password", json={"old": PASSWORD, "new": "a new password"}).status_code == 204
    assert _login(server, "changing@example.com", "a new password").status_code == 200
    assert _login(server, "changing@example.com", PASSWORD).status_code == 401
    assert api.call("POST", "/password", data={"old": "a new password", "new": PASSWORD}).status_code == 204
    assert _login(server, "changing@example.com", PASSWORD).status_code == 200


def test_a_weak_new_password_is_refused(server: Served) -> None:
    """The rules of registration hold for a change too; without a token there is none."""
    api = server.account("weakening@example.com")
    for new in ("short", "x" * 1025, "Weakening@example.com"):
        answer = api.call("POST", "/password", json={"old": PASSWORD, "new": new})
        assert (answer.status_code, answer.json()["field"]) == (422, "password")
    assert api.call("POST", "/password", json={"old": PASSWORD}).status_code == 422
    assert Api(server.url).call("POST", "/password", json={"old": PASSWORD, "new": "x" * 9}).status_code == 401
    assert _login(server, "weakening@example.com", PASSWORD).status_code == 200


def test_the_published_key_checks_tokens(server: Served) -> None:
    """One Ed25519 key, named by its thumbprint (RFC 7638), verifies what /login gave, and no private part is shown."""
    answer = Api(server.url).call("GET", "/.well-known/jwks.json")
    (jwk,) = answer.json()["keys"]
    assert (jwk["kty"], jwk["crv"], jwk["alg"], jwk["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")
    assert "d" not in jwk
    assert jwk["kid"] == _thumbprint(jwk)
    token = server.account("verified@example.com").headers["Authorization"].split()[1]
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "JWT", "kid": jwk["kid"]}
    claims = jwt.decode(token, jwt.PyJWK(jwk).key, algorithms=["EdDSA"], audience="video2mp3", issuer="video2mp3")
    assert claims["email"] == "verified@example.com"


def _thumbprint(jwk: dict[str, Any]) -> str:
    required = json.dumps({name: jwk[name] for name in ("crv", "kty", "x")}, sort_keys=True, separators=(",", ":"))
    return urlsafe_b64encode(hashlib.sha256(required.encode()).digest()).rstrip(b"=").decode()


def test_a_key_is_replaced_without_logging_anybody_out(tmp_path: Path) -> None:
    """While both public keys are known, tokens of both private keys hold; none is given that nobody would take."""
    state = tmp_path / "state"
    with Served(state) as served:
        old = served.account()
        [old_key] = served_keys(old)
    fresh = settings(tmp_path / "other", env={})
    [new_key] = json.loads(fresh["TOKEN_JWKS"])["keys"]
    both = {"TOKEN_PRIVATE_KEY": fresh["TOKEN_PRIVATE_KEY"], "TOKEN_JWKS": json.dumps({"keys": [old_key, new_key]})}
    with Served(state, env=both) as served:
        old.url = served.url
        new = served.account()
        assert served_keys(new) == [old_key, new_key]
        for api, key in ((old, old_key), (new, new_key)):
            token = api.headers["Authorization"].split()[1]
            assert jwt.get_unverified_header(token)["kid"] == key["kid"]
            assert [api.call("POST", "/validate").status_code, api.call("GET", "/jobs").status_code] == [200, 200]
    alone = {**both, "TOKEN_JWKS": json.dumps({"keys": [old_key]})}
    with Served(state, env=alone) as served:
        assert _login(served, "someone@example.com", PASSWORD).status_code == 500
        assert "TOKEN_JWKS lacks the public half" in served.log()


def served_keys(api: Api) -> list[dict[str, Any]]:
    """The public keys that auth tells."""
    keys: list[dict[str, Any]] = api.call("GET", "/.well-known/jwks.json").json()["keys"]
    return keys


def test_other_methods_and_paths_are_problems(server: Served) -> None:
    """405 names what is offered, 404 what is not there."""
    for method, path, status in (
        ("GET", "/login", 405),
        ("GET", "/register", 405),
        ("POST", "/.well-known/jwks.json", 405),
        ("POST", "/login/", 404),
        ("POST", "/login/x", 404),
    ):
        answer = Api(server.url).call(method, path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), path
        assert status != 405 or answer.headers["Allow"]
