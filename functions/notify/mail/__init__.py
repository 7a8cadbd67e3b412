"""What carries a mail away: the interface, its errors, and the choice of a backend by `MAIL_URL`.

The composition root calls `from_url`; the notify step calls `Mailer.send`.
"""

from dataclasses import dataclass
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import SMTP
from typing import Protocol

from functions.common.errors import SettingError


class MailRefused(Exception):
    """This message or its recipient is refused for good; trying again cannot help."""


class MailUnavailable(Exception):
    """The mail could not be handed over; trying again may help."""


class Mailer(Protocol):
    """Hands a mail to something that keeps it; safe to call from several threads at once."""

    def send(self, message: EmailMessage) -> None:
        """Hand over one message; on return it is in safe hands.

        That is the server's 250 to the whole message for all its recipients, or a file that survives a power cut.
        Each call hands over once: nothing here tries again or knows a repeated Message-ID.

        Args:
            message: with one address in From, one or more in To (Cc and Bcc are not looked at), and a Message-ID.

        Raises:
            MailRefused: no attempt with this message can succeed: the server refused sender, a recipient or content
                for good, or the message cannot be written down or names no sender or recipient. Nobody got it.
            MailUnavailable: everything else: no connection, out of time, TLS, login, 4xx, no room. Usually nobody
                got it, but where the connection broke between the message and its 250, somebody may have.
        """
        ...


def from_url(url: str, *, timeout_seconds: float = 20) -> Mailer:
    """Make the mailer that a URL names; opens no connection and no file of the mailbox.

    Args:
        url: `file:///directory`, `smtp://[user:password@]host[:port][?starttls=never|?ca=/path]`,
            `smtps://[user:password@]host[:port][?ca=/path]`; user and password percent-encoded.
        timeout_seconds: how long one send may take in all.

    Raises:
        SettingError: the URL is not one of these; the message names MAIL_URL and never repeats its value.
    """
    match url.partition(":")[0].lower():
        case "file":
            from functions.notify.mail.mailbox import Mailbox

            return Mailbox.from_url(url)
        case "smtp" | "smtps":
            from functions.notify.mail.smtp import SmtpMailer

            return SmtpMailer.from_url(url, timeout_seconds=timeout_seconds)
        case _:
            raise SettingError("MAIL_URL must begin with file:///, smtp:// or smtps://")


@dataclass(frozen=True, slots=True)
class Envelope:
    """Whom a message is from and for."""

    sender: str
    recipients: tuple[str, ...]

    @property
    def international(self) -> bool:
        """Whether an address is not ASCII, which takes RFC 6531 and RFC 6532."""
        return not all(address.isascii() for address in (self.sender, *self.recipients))


def envelope(message: EmailMessage) -> Envelope:
    """Read From and To of a message; for the backends.

    Raises:
        MailRefused: they don't hold one sender and at least one recipient.
    """
    senders, recipients = (
        [address.addr_spec for header in message.get_all(name, []) for address in header.addresses]
        for name in ("From", "To")
    )
    if len(senders) != 1 or not recipients or not all((*senders, *recipients)):
        raise MailRefused("a mail needs one sender and a recipient")
    return Envelope(senders[0], tuple(recipients))


def wire_bytes(message: EmailMessage, *, international: bool, line_end: str) -> bytes:
    """Write a message down (RFC 5322), in eight bits where international (RFC 6532); for the backends.

    Raises:
        MailRefused: the message holds what cannot be written.
    """
    cte_type = "8bit" if international else "7bit"
    try:
        return message.as_bytes(policy=SMTP.clone(utf8=international, cte_type=cte_type, linesep=line_end))
    except (ValueError, MessageError) as error:
        raise MailRefused("the message cannot be written down") from error
