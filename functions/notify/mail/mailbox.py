"""A directory that collects mails as `.eml` files; for a run at home and for tests (`MAIL_URL=file:///directory`)."""

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import unquote, urlsplit

from functions.common.errors import SettingError
from functions.notify.mail import MailUnavailable, envelope, wire_bytes

#: Part of the Message-ID that a file name shows; with digest, number and ending it stays far below 255 bytes.
_SLUG_LENGTH = 80


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Keeps each message as one file `<slug>.<n>.eml`; n counts the messages with the same Message-ID from 1."""

    directory: Path

    @classmethod
    def from_url(cls, url: str) -> "Mailbox":
        """Make the mailbox of a `file:///directory` URL (RFC 8089); the directory need not exist yet.

        Raises:
            SettingError: the URL is relative, names another machine, or no directory.
        """
        parts = urlsplit(url)
        path = unquote(parts.path)
        if parts.netloc not in ("", "localhost") or not path.startswith("/"):
            raise SettingError("MAIL_URL must hold the whole path of a directory here: file:///directory")
        if parts.query or parts.fragment or "\0" in path or not path.strip("/"):
            raise SettingError("MAIL_URL: file:/// must be followed by a directory and nothing else")
        return cls(Path(path))

    def send(self, message: EmailMessage) -> None:
        """Keep the message; see `Mailer.send`."""
        text = wire_bytes(message, international=envelope(message).international, line_end="\n")
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._keep(text, _slug(message["Message-ID"] or ""))
        except OSError as error:
            raise MailUnavailable(f"the mailbox {self.directory} takes no mail: {error.strerror}") from error

    def _keep(self, text: bytes, slug: str) -> None:
        """Write under a temporary name, then give the whole file its own: no reader ever sees a part."""
        with tempfile.NamedTemporaryFile(prefix=".", suffix=".part", dir=self.directory) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            self._link(file.name, slug)
        self._sync_names()

    def _link(self, temporary: str, slug: str) -> None:
        """Take the first free number; a link, unlike a rename, never replaces a file."""
        number = 1
        while not _linked(self.directory / f"{slug}.{number}.eml", temporary):
            number += 1

    def _sync_names(self) -> None:
        """Make the new name survive a power cut as well."""
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _linked(name: Path, existing: str) -> bool:
    """Give an existing file a further name, unless the name is taken."""
    try:
        name.hardlink_to(existing)
    except FileExistsError:
        return False
    return True


def _slug(message_id: str) -> str:
    """The readable part of a Message-ID and a digest of all of it, safe as a file name."""
    local = message_id.strip("<> ").partition("@")[0]
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", local)[:_SLUG_LENGTH].strip(".-") or "mail"
    return f"{readable}-{hashlib.sha256(message_id.encode('utf-8', 'replace')).hexdigest()[:8]}"
