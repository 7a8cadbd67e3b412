"""The mail that tells how a job ended; composed by the notify step, carried by `functions.notify.mail`."""

import re
import unicodedata
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final, Literal

from markupsafe import Markup

#: Longest file name that a mail shows, in characters.
SHOWN_NAME_LENGTH: Final = 120

#: Categories that show nothing or change how other text shows: controls, format characters (bidi controls, tags,
#: byte order marks), lone surrogates, line and paragraph separators.
_UNSHOWN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: Format characters that Persian and Indian scripts and emoji cannot do without.
_JOINERS: Final = frozenset("\u200c\u200d")

#: An address without quoted parts and comments (RFC 5322 dot-atoms, with the letters of RFC 6531).
_WORD: Final = r'[^\s\x00-\x1f\x7f@<>()\[\],;:\\"]+'
_ADDRESS: Final = re.compile(f"({_WORD})@({_WORD})")
#: What may stand in a Message-ID here.
_ID_PART: Final = re.compile(r"[A-Za-z0-9_-]+")
_ID_DOMAIN: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")

#: A line may hold 998 octets (RFC 5322, section 2.1.1); longer ones are encoded.
_PLAIN_LINE_LENGTH: Final = 990

_PAGE: Final = Markup("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>{subject}</title>
</head>
<body style="color-scheme: light dark; margin: 0; padding: 24px; \
font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif">
<div style="max-width: 34em; margin: 0 auto">
{content}
</div>
</body>
</html>
""")
_PARAGRAPH: Final = Markup('<p style="margin: 0 0 16px">{}</p>\n')
_FACT: Final = Markup('<p style="margin: 0; font-size: 14px">{}: <bdi>{}</bdi></p>\n')
_BUTTON: Final = Markup(
    '<p style="margin: 0 0 16px"><a href="{link}" style="display: inline-block; padding: 10px 20px; '
    "border: 1px solid #1a6b52; border-radius: 6px; background-color: #1a6b52; color: #ffffff; "
    'text-decoration: none">{label}</a></p>\n'
)


def display_name(name: str) -> str:
    """Make a stranger's file name harmless to show: one line, nothing invisible, at most SHOWN_NAME_LENGTH.

    Runs of white space become one space; control, format and bidi characters are dropped. The result is plain text:
    HTML still has to be escaped.
    """
    line = " ".join(name.split())
    shown = "".join(c for c in line if c in _JOINERS or unicodedata.category(c) not in _UNSHOWN).strip()
    if len(shown) > SHOWN_NAME_LENGTH:
        shown = shown[: SHOWN_NAME_LENGTH - 1].rstrip() + "…"
    return shown or "unnamed file"


def compose(
    *,
    outcome: Literal["succeeded", "failed"],
    to: str,
    sender: str,
    filename: str,
    file_id: str,
    run: int,
    link: str | None,
    sentence: str | None,
    duration_seconds: float | None = None,
    expires: str | None = None,
    message_domain: str,
) -> EmailMessage:
    """Write the mail about one run of a job; the same run and outcome always give the same Message-ID.

    Args:
        outcome: how the run ended.
        to: the owner's address.
        sender: our address, with or without a name: `video2mp3 <mail@example.org>`.
        filename: as uploaded; anything may stand in it.
        file_id: the job's id.
        run: the job's run.
        link: where the MP3 is, or after a failure where to try again; None leaves it out.
        sentence: why it failed, for a person; not looked at after a success.
        duration_seconds: length of the MP3; None leaves it out.
        expires: until when the MP3 is kept, for a person to read; None leaves it out.
        message_domain: the right side of the Message-ID.

    Raises:
        ValueError: an address, the id or the domain cannot stand in a header.
    """
    if not _ID_PART.fullmatch(file_id) or not _ID_DOMAIN.fullmatch(message_domain):
        raise ValueError("file_id and message_domain must fit into a Message-ID")
    name = display_name(filename)
    if outcome == "succeeded":
        subject = "MP3 Download"
        facts = _facts(name, duration_seconds, expires)
        text, page = _success(file_id, link, facts)
    else:
        subject = "MP3 conversion failed"
        text, page = _failure(file_id, link, sentence, _facts(name, None, None))

    message = EmailMessage(policy=SMTP)
    message["Subject"] = subject
    message["From"] = _sender(sender)
    message["To"] = _address(to)
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = f"<{file_id}.{run}.{outcome}@{message_domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notices, please
    message.set_content(text, cte=_encoding(text))
    html = str(_PAGE.format(subject=subject, content=page))
    message.add_alternative(html, subtype="html", cte=_encoding(html))
    message["Content-Language"] = "en"  # last: add_alternative moves earlier Content fields into the first part
    return message


def _success(file_id: str, link: str | None, facts: list[tuple[str, str]]) -> tuple[str, Markup]:
    """Text and HTML of a success; the first sentence is what people's scripts look for."""
    ready = f"mp3 file_id: {file_id} is now ready!"
    page = _PARAGRAPH.format(ready)
    if link is None:
        text = f"{ready}\n\nYou find it in your list of conversions.\n"
        page += _PARAGRAPH.format("You find it in your list of conversions.")
    else:
        text = f"{ready}\n{link}\n"
        page += _BUTTON.format(link=link, label="Download the MP3")
    return text + _as_text(facts), page + _as_html(facts)


def _failure(file_id: str, link: str | None, sentence: str | None, facts: list[tuple[str, str]]) -> tuple[str, Markup]:
    """Text and HTML of a failure: what happened, to which file, and what to do."""
    said = ["Your file could not be converted to an MP3.", sentence or "We don't know why."]
    advice = "What you can do: check that the file plays to its end and has sound, then upload it once more."
    ask = f"If it fails again, ask for help and give this id: {file_id}"
    text = "\n".join(said) + f"\n{_as_text(facts)}\n{advice}\n"
    page = _PARAGRAPH.format(" ".join(said)) + _as_html(facts) + _PARAGRAPH.format(advice)
    if link is not None:
        text += f"{link}\n"
        page += _BUTTON.format(link=link, label="Try again")
    return f"{text}{ask}\n", page + _PARAGRAPH.format(ask)


def _facts(name: str, duration_seconds: float | None, expires: str | None) -> list[tuple[str, str]]:
    facts = [("File", name)]
    if duration_seconds is not None:
        facts.append(("Length", _clock(duration_seconds)))
    if expires is not None:
        facts.append(("Kept until", expires))
    return facts


def _as_text(facts: list[tuple[str, str]]) -> str:
    return "\n" + "".join(f"{label}: {value}\n" for label, value in facts)


def _as_html(facts: list[tuple[str, str]]) -> Markup:
    """A fact's value may run from right to left by nature; `bdi` keeps that from its label."""
    rows = Markup().join(_FACT.format(label, value) for label, value in facts)
    return Markup('<div style="margin: 0 0 16px">\n{}</div>\n').format(rows)


def _clock(duration_seconds: float) -> str:
    """Write 205.4 seconds as 3:25."""
    minutes, seconds = divmod(round(duration_seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _address(address: str, name: str = "") -> Address:
    parts = _ADDRESS.fullmatch(address)
    if not parts or not name.isprintable():
        raise ValueError("not an e-mail address that a mail can be sent to")
    return Address(name, username=parts[1], domain=parts[2])


def _sender(sender: str) -> Address:
    """Read `address` or `name <address>`."""
    name, bracket, address = sender.rpartition("<")
    return _address(address.removesuffix(">"), name.strip(' "')) if bracket else _address(sender)


def _encoding(text: str) -> Literal["7bit", "quoted-printable"]:
    """Leave a part as it is where possible, so that people and scripts can read it in the mailbox's files."""
    plain = text.isascii() and max(map(len, text.splitlines()), default=0) <= _PLAIN_LINE_LENGTH
    return "7bit" if plain else "quoted-printable"
