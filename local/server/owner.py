"""This machine's owner: an account without a password, opened by a secret that works once.

Being on loopback proves nothing: every program and every page in a browser here can reach the server. So the page is
handed a secret in the fragment of its address, which no server, log or `Referer` sees, and exchanges it for a token.
"""

import hmac
import secrets
import threading
from collections.abc import Callable, Iterable
from typing import Final

from flask import json
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from functions.auth.accounts import Accounts
from functions.auth.issuing import issuer
from functions.common.accounts import NO_PASSWORD
from functions.common.backends import Backends
from local.server.problems import problem

#: Where the secret is exchanged; no function has this path.
PATH: Final = "/sign-in"
_EMAIL: Final = "owner@localhost"
_MOST_BYTES: Final = 1024


def owner_token(backends: Backends) -> str:
    """An access token of the owner, whose account is made when first asked for."""
    config, accounts = backends.config, Accounts(backends.database)
    account = accounts.by_email(_EMAIL) or accounts.add(_EMAIL, NO_PASSWORD) or accounts.by_email(_EMAIL)
    if account is None:
        raise AssertionError("the owner's account is neither there nor can it be made")
    return issuer(config.token_private_key, config.token_seconds).issue(account.id, account.email)


class SignIn:
    """Answers POST /sign-in, as JSON {"secret": ...}, once for each secret.

    Args:
        backends: where the owner's account is.
        used: called whenever the secret was used and there is another.
    """

    def __init__(self, backends: Backends, used: Callable[[], None]) -> None:
        self._backends = backends
        self._used = used
        self._lock = threading.Lock()
        #: The one that works next.
        self.secret = secrets.token_urlsafe(32)

    def __call__(self, environ: dict[str, object], start_response: object) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        request = Request(environ)
        request.max_content_length = _MOST_BYTES
        return self._answer(request)(environ, start_response)  # type: ignore[arg-type]  # werkzeug types PEP 3333 more narrowly

    def _answer(self, request: Request) -> Response:
        if request.method != "POST":
            return problem(405, "Method Not Allowed", "This method is not offered here.", headers={"Allow": "POST"})
        try:
            given = request.get_json(force=True)
        except HTTPException:
            given = None
        secret = given.get("secret") if isinstance(given, dict) else None
        if not isinstance(secret, str):
            return problem(422, "Unprocessable Content", 'A sign-in is JSON like {"secret": "..."}.')
        if not self._use(secret):
            return problem(401, "Unauthorized", "This address was used already; the terminal shows the next one.")
        body = {
            "access_token": owner_token(self._backends),
            "token_type": "Bearer",
            "expires_in": self._backends.config.token_seconds,
            "email": _EMAIL,
        }
        self._used()
        return Response(json.dumps(body), mimetype="application/json", headers={"Cache-Control": "no-store"})

    def _use(self, secret: str) -> bool:
        with self._lock:
            if not hmac.compare_digest(secret.encode(errors="replace"), self.secret.encode()):
                return False
            self.secret = secrets.token_urlsafe(32)
            return True
