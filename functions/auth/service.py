"""Registering, logging in, and changing a password."""

from email_validator import EmailNotValidError, validate_email

from functions.auth.accounts import Account, Accounts
from functions.auth.passwords import check_password, hash_password
from functions.common.errors import Conflict, Forbidden, Invalid, Unauthorized

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


def login(email: str, password: str, *, accounts: Accounts) -> Account:
    """Find the account whose address and password these are; a missing one costs as much as a wrong password.

    Raises:
        Unauthorized: there is none.
    """
    try:
        account = accounts.by_email(normalise(email))
    except Invalid:
        account = None
    fits = check_password(password[: _LONGEST + 1], account.password_hash if account else None)
    if account is None or not fits:
        raise Unauthorized("The address or the password is wrong.", challenge="Basic")
    return account


def change_password(account_id: str, old: str, new: str, *, accounts: Accounts) -> None:
    """Replace an account's password.

    Raises:
        Unauthorized: there is no such account any more.
        Forbidden: the old password is wrong.
        Invalid: the new one won't do.
        Conflict: it was changed by somebody else at the same moment.
    """
    account = accounts.by_id(account_id)
    if account is None:
        raise Unauthorized
    if not check_password(old[: _LONGEST + 1], account.password_hash):
        raise Forbidden("The old password is wrong.")
    _check_strength(new, account.email)
    if not accounts.set_password(account, hash_password(new)):
        raise Conflict("The password was changed meanwhile.")


def normalise(email: str) -> str:
    """Bring an address into the one spelling that is stored and compared.

    Raises:
        Invalid: it is no address.
    """
    try:
        address = validate_email(email.strip(), check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise Invalid("This is no e-mail address that a mail could be sent to.", field="email") from error
    # Mailboxes that differ in letter case alone are one person's; two accounts would only confuse them.
    return address.lower()


def _check_strength(password: str, email: str) -> None:
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise Invalid(f"A password has {_SHORTEST} to {_LONGEST:,} characters.", field="password")
    if password.lower() == email:
        raise Invalid("The password must not be the address itself.", field="password")
