"""Registering, logging in, and changing a password."""

from functions.auth.accounts import Account, Accounts
from functions.auth.failures import Failures
from functions.auth.passwords import check_password, hash_password
from functions.common.accounts import normalise
from functions.common.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized

_SHORTEST, _LONGEST = 8, 1024


def register(email: str, password: str, *, accounts: Accounts, open_: bool) -> Account:
    """Make an account.

    Raises:
        Forbidden: registration is closed here.
        Invalid: the address or the password won't do.
        Conflict: the address is taken.
    """
    if not open_:
        raise Forbidden("Registration is closed here; ask the operator for an account.")
    address = normalise(email)
    _check_strength(password, address)
    if accounts.by_email(address) is None:
        account = accounts.add(address, hash_password(password))
        if account is not None:
            return account
    raise Conflict("There is an account with this address already.")


def login(email: str, password: str, *, accounts: Accounts, failures: Failures) -> Account:
    """Find the account whose address and password these are; a missing one costs as much as a wrong password.

    Raises:
        Unauthorized: there is none.
        TooMany: there were too many wrong passwords for this address.
    """
    account = None
    try:
        address = normalise(email)
        account = accounts.by_email(address)
    except Invalid:
        # Nobody's address is counted like any other.
        address = email
    if not _fits(password, account, address, failures) or account is None:
        raise Unauthorized("The address or the password is wrong.", challenge="Basic")
    return account


def change_password(account_id: str, old: str, new: str, *, accounts: Accounts, failures: Failures) -> None:
    """Replace an account's password.

    Raises:
        Unauthorized: there is no such account any more.
        Forbidden: the old password is wrong.
        TooMany: there were too many wrong ones.
        Invalid: the new one won't do.
        Conflict: it was changed by somebody else at the same moment.
    """
    account = accounts.by_id(account_id)
    if account is None:
        raise Unauthorized
    if not _fits(old, account, account.email, failures):
        raise Forbidden("The old password is wrong.")
    _check_strength(new, account.email)
    if not accounts.set_password(account, hash_password(new)):
        raise Conflict("The password was changed meanwhile.")


def set_password(email: str, password: str, *, accounts: Accounts) -> Account:
    """Give an account another password, as its operator.

    Raises:
        Invalid: the address or the password won't do.
        NotFound: there is no such account.
        Conflict: the password was changed by somebody else at the same moment.
    """
    address = normalise(email)
    account = accounts.by_email(address)
    if account is None:
        raise NotFound("There is no account with this address.")
    _check_strength(password, address)
    if not accounts.set_password(account, hash_password(password)):
        raise Conflict("The password was changed meanwhile.")
    return account


def _fits(password: str, account: Account | None, address: str, failures: Failures) -> bool:
    """Whether this is the account's password, and what that means for the next try."""
    failed = failures.check(address)
    fits = check_password(password[: _LONGEST + 1], account.password_hash if account else None)
    if not fits:
        failures.count(address)
    elif failed:
        failures.forget(address)
    return fits


def _check_strength(password: str, email: str) -> None:
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise Invalid(f"A password has {_SHORTEST} to {_LONGEST:,} characters.", field="password")
    if password.lower() == email:
        raise Invalid("The password must not be the address itself.", field="password")
