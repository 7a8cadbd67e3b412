"""What is common knowledge of accounts: the one spelling of an address, and how one without a password is kept."""

from typing import Final

from email_validator import EmailNotValidError, validate_email

from functions.common.errors import Invalid

#: The hash that no password has. It was written by hand, with the parameters of everybody's, so that a login for an
#: account that cannot log in, or that is not there, takes as long as any other.
NO_PASSWORD: Final = "$argon2id$v=19$m=19456,t=2,p=1$" + "c2FsdHNhbHRzYWx0c2FsdA" + "$" + "A" * 43


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
