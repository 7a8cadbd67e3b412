"""Mail over SMTP (RFC 5321) with TLS, one connection per message (`MAIL_URL=smtp://...` or `smtps://...`)."""

import re
import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from enum import StrEnum
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from functions.common.errors import SettingError
from functions.notify.mail import Envelope, MailRefused, MailUnavailable, envelope, wire_bytes
from functions.notify.mail.session import Session

#: Answers to MAIL, RCPT and DATA that say how we are set up, not what is wrong with the message: bad sequence
#: (some servers mean "log in first"), authentication needed, too weak, failed, encryption needed (RFC 4954, 6).
_SETUP_CODES: Final = frozenset({503, 530, 534, 535, 538})


#: Enhanced codes (RFC 3463) about mailboxes that are full, systems, routing, protocol and policy: a quota that is used
#: up or a relay that is closed to us may be another matter tomorrow; an address (5.1) or a content (5.6) will not.
_MAY_PASS = re.compile(r"5\.[23457]\.\d")


class Security(StrEnum):
    """How a connection becomes secret."""

    #: Plain at first, then STARTTLS, without which nothing is sent (RFC 3207).
    STARTTLS = "starttls"
    #: TLS from the first byte (RFC 8314).
    TLS = "tls"
    #: Never; for a relay on the same machine or network.
    NONE = "none"


#: RFC 6409 and RFC 8314 for submission, RFC 5321 for a relay.
_DEFAULT_PORTS: Final = {Security.STARTTLS: 587, Security.TLS: 465, Security.NONE: 25}


@dataclass(frozen=True, slots=True)
class SmtpMailer:
    """Hands each message to one SMTP server; its repr holds no credentials."""

    host: str
    port: int
    security: Security
    #: Checks the server's certificate; None where Security.NONE.
    tls: ssl.SSLContext | None = field(repr=False)
    #: User and password, both printable ASCII, or None to send without a login.
    login: tuple[str, str] | None = field(repr=False)
    #: How long one send may take in all.
    timeout_seconds: float

    @classmethod
    def from_url(cls, url: str, *, timeout_seconds: float) -> "SmtpMailer":
        """Make the mailer of an `smtp://` or `smtps://` URL.

        Raises:
            SettingError: the URL is wrong or the file of `ca` cannot be read. Neither the message nor a cause
                repeats any part of the URL before the '?', which may be a part of the password.
        """
        parts, port = _split(url)
        options = _options(parts)
        security = Security.TLS if parts.scheme == "smtps" else Security.STARTTLS
        if "starttls" in options:
            security = Security.NONE
        tls = None if security is Security.NONE else _context(options.get("ca"))
        return cls(
            host=_host(parts),
            port=port or _DEFAULT_PORTS[security],
            security=security,
            tls=tls,
            login=_login(parts),
            timeout_seconds=timeout_seconds,
        )

    def send(self, message: EmailMessage) -> None:
        """Hand the message to the server; see `Mailer.send`."""
        address = envelope(message)
        implicit = self.tls if self.security is Security.TLS else None
        try:
            with Session(self.host, self.port, tls=implicit, limit_seconds=self.timeout_seconds) as session:
                if self.security is Security.STARTTLS:
                    session.starttls(context=self.tls)
                self._log_in(session)
                _hand_over(session, message, address)
        except OSError as error:  # smtplib's errors, TLS errors and timeouts are all OSErrors
            raise MailUnavailable(f"{self.host}:{self.port}: {error}") from error

    def _log_in(self, session: Session) -> None:
        if self.login is None:
            session.ehlo_or_helo_if_needed()
            return
        try:
            session.login(*self.login)
        except smtplib.SMTPServerDisconnected:
            raise
        except (smtplib.SMTPException, ValueError) as error:  # ValueError: MD5 switched off
            code = getattr(error, "smtp_code", "no method in common")
        else:
            return
        # Raised here and not above: chained, smtplib's error would carry the server's words, and a server may
        # repeat what it was sent.
        raise MailUnavailable(f"{self.host}:{self.port}: the login failed ({code})")


def _hand_over(session: Session, message: EmailMessage, address: Envelope) -> None:
    """Go through MAIL, RCPT and DATA; all recipients or none."""
    if address.international and not session.has_extn("smtputf8"):
        raise MailRefused("the mail server takes no addresses outside ASCII (SMTPUTF8, RFC 6531)")
    payload = wire_bytes(message, international=address.international, line_end="\r\n")
    options = ["SMTPUTF8", "BODY=8BITMIME"] if address.international else []
    _check("MAIL", session.mail(address.sender, options))
    for recipient in address.recipients:
        _check("RCPT", session.rcpt(recipient))
    try:
        _check("DATA", session.data(payload))
    except smtplib.SMTPDataError as error:  # anything but 354 to DATA itself, even a 250, which took nothing
        raise _refusal("DATA", error.smtp_code, error.smtp_error) from error


def _check(command: str, reply: tuple[int, bytes]) -> None:
    """Let pass only success (RFC 5321, section 4.2.1)."""
    code, words = reply
    if not 200 <= code < 300:
        raise _refusal(command, code, words)


def _refusal(command: str, code: int, words: bytes | str) -> MailRefused | MailUnavailable:
    """Choose the error for an answer; the log gets code and words, which for these commands hold no login."""
    text = words.decode("ascii", "replace") if isinstance(words, bytes) else words
    shown = f"{command}: {code} " + "".join(filter(str.isprintable, text[:200]))
    if 500 <= code < 600 and code not in _SETUP_CODES and not _MAY_PASS.match(text.lstrip()):
        return MailRefused(shown)
    return MailUnavailable(shown)


def _split(url: str) -> tuple[SplitResult, int | None]:
    """Parse a URL; what urllib says about a wrong one is dropped, since it quotes what may be the password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        pass
    else:
        if parts.path in ("", "/") and not parts.fragment and port != 0:
            return parts, port
    raise SettingError(
        "MAIL_URL must look like smtp://user:password@host:port; write special characters in user and password as %XX"
    )


def _options(parts: SplitResult) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not options.keys() <= {"starttls", "ca"}:
        raise SettingError("MAIL_URL: only 'starttls=never' or 'ca=/path' may follow the '?'")
    if options.get("starttls", "never") != "never" or ("starttls" in options and parts.scheme == "smtps"):
        raise SettingError("MAIL_URL: the only value of 'starttls' is 'never', and only with smtp://")
    if len(options) == 2:
        raise SettingError("MAIL_URL: 'ca' has no use with 'starttls=never'")
    return options


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    try:
        if host.encode("idna"):
            return host
    except UnicodeError:
        pass
    raise SettingError("MAIL_URL needs the name of a mail server")


def _login(parts: SplitResult) -> tuple[str, str] | None:
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not user and not password:
        return None
    if not user or not password:
        raise SettingError("MAIL_URL needs a user and a password, or neither")
    if not (user + password).isascii() or not (user + password).isprintable():
        raise SettingError("MAIL_URL: user and password must be printable ASCII")  # all that smtplib can send
    return user, password


def _context(ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:
        raise SettingError("MAIL_URL: the file that 'ca' names holds no certificates that can be read") from error
