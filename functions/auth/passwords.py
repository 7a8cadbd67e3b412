"""Hashing and checking passwords: argon2id (RFC 9106) with the parameters of OWASP's password storage page."""

import threading
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from functions.common.accounts import NO_PASSWORD
from functions.common.errors import Unavailable
from functions.common.memory import bound_what_is_kept

#: A hash takes 19 MiB, so a flood of logins must wait its turn instead of taking all memory.
AT_ONCE: Final = 2
_WAIT_SECONDS: Final = 2.0
_turns = threading.BoundedSemaphore(AT_ONCE)
_loading = threading.Lock()


def hash_password(password: str) -> str:
    """Hash a password for storage.

    Raises:
        Unavailable: too many are being hashed right now.
    """
    return str(_in_turn(lambda: _scheme().hash(password)))


def check_password(password: str, password_hash: str | None) -> bool:
    """Tell whether a password fits; without a hash it costs as much and is False.

    Raises:
        Unavailable: too many are being hashed right now.
    """
    fits = _in_turn(lambda: _scheme().verify(password, password_hash or NO_PASSWORD))
    return bool(fits) and password_hash is not None


def _in_turn(work: Callable[[], object]) -> object:
    if not _turns.acquire(timeout=_WAIT_SECONDS):
        raise Unavailable("Too many logins at once; please try again.", retry_after_seconds=2)
    try:
        return work()
    finally:
        _turns.release()


def _scheme() -> Any:
    # passlib loads its schemes when first asked, and two threads that ask at once may find it half done.
    with _loading:
        return _loaded()


@cache
def _loaded() -> Any:
    from passlib.hash import argon2

    bound_what_is_kept()
    return argon2.using(type="ID", memory_cost=19 * 1024, time_cost=2, parallelism=1)
