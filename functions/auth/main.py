"""auth over HTTP: /register, /login, /validate, /password and the public keys."""

import json
from typing import TYPE_CHECKING, Any

import flask
from flask import Request, Response
from werkzeug.exceptions import BadRequest
from werkzeug.routing import Map, Rule

from functions.common.app import backends, dispatch
from functions.common.bearer import principal
from functions.common.errors import Invalid, Malformed, SettingError, Unauthorized

if TYPE_CHECKING:
    from functions.auth.accounts import Accounts
    from functions.auth.failures import Failures
    from functions.auth.issuing import Issuer


def auth(request: Request) -> Response:
    """Answer one request."""
    return dispatch(_ROUTES, request)


def _register(request: Request) -> Response:
    from functions.auth import service

    fields = _fields(request, "email", "password")
    account = service.register(
        fields["email"],
        fields["password"],
        accounts=_accounts(),
        open_=backends().config.registration_open,
    )
    return flask.make_response({"id": account.id, "email": account.email}, 201)


def _login(request: Request) -> Response:
    from functions.auth import service

    given = request.authorization
    if given is None or given.type != "basic" or given.username is None or given.password is None:
        raise Unauthorized("Log in with your address and password (Basic).", challenge="Basic")
    account = service.login(given.username, given.password, accounts=_accounts(), failures=_failures())
    issuer = _issuer()
    token = issuer.issue(account.id, account.email)
    # Commands that people already use take the whole body for the token; JSON is for who asks for it by name.
    if request.accept_mimetypes.best == "application/json":
        response = flask.jsonify(access_token=token, token_type="Bearer", expires_in=issuer.token_seconds)  # noqa: S106 - the scheme's name
    else:
        response = Response(token, mimetype="text/plain")
    response.headers["Cache-Control"] = "no-store"
    return response


def _validate(request: Request) -> Response:
    return flask.jsonify(dict(principal(request, backends().verifier).claims))


def _password(request: Request) -> Response:
    from functions.auth import service

    who = principal(request, backends().verifier)
    fields = _fields(request, "old", "new")
    service.change_password(who.account_id, fields["old"], fields["new"], accounts=_accounts(), failures=_failures())
    return Response(status=204)


def _jwks(_request: Request) -> Response:
    return flask.jsonify(json.loads(backends().config.token_jwks))


def _accounts() -> "Accounts":
    from functions.auth.accounts import Accounts

    return Accounts(backends().database)


def _failures() -> "Failures":
    from functions.auth.failures import Failures

    return Failures(backends().database)


def _issuer() -> "Issuer":
    from functions.auth.issuing import issuer

    config = backends().config
    made = issuer(config.token_private_key, config.token_seconds)
    if made.key_id not in backends().verifier.key_ids:
        raise SettingError("TOKEN_JWKS lacks the public half of TOKEN_PRIVATE_KEY: nobody would take the tokens")
    return made


def _fields(request: Request, *names: str) -> dict[str, str]:
    """The named texts of a JSON or form body."""
    given: Any = request.form
    if request.is_json:
        try:
            given = request.get_json()
        except (BadRequest, RecursionError) as error:
            raise Malformed("The body is not valid JSON.") from error
        if not isinstance(given, dict):
            raise Malformed("The body is not a JSON object.")
    for name in names:
        if not isinstance(given.get(name), str):
            raise Invalid(f"{name} is missing; send {' and '.join(names)} as a form or JSON.", field=name)
        if any("\ud800" <= char <= "\udfff" for char in given[name]):
            # JSON can spell half a character, which no encoding can.
            raise Invalid(f"{name} is not valid text.", field=name)
    return {name: given[name] for name in names}


_ROUTES = Map(
    [
        Rule("/register", endpoint=_register, methods=["POST"]),
        Rule("/login", endpoint=_login, methods=["POST"]),
        Rule("/validate", endpoint=_validate, methods=["POST"]),
        Rule("/password", endpoint=_password, methods=["POST"]),
        Rule("/.well-known/jwks.json", endpoint=_jwks, methods=["GET"]),
    ],
    merge_slashes=False,
)
