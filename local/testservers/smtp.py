"""An SMTP server that keeps the mails it takes in a Maildir."""

import smtplib
import sys
from importlib.metadata import version
from typing import ClassVar

from local.testservers.server import HOST, Server


class Smtp(Server):
    """aiosmtpd, which takes every mail and sends none on."""

    name = "smtp"
    ports: ClassVar = {"smtp": 20025}

    def version(self) -> str:
        """See Server."""
        return f"aiosmtpd {version('aiosmtpd')}"

    def prepare(self) -> None:
        """See Server."""

    def launch(self) -> None:
        """See Server."""
        listen = f"{HOST}:{self.port('smtp')}"
        mailbox = ("-c", "aiosmtpd.handlers.Mailbox", str(self.folder / "mails"))
        command = [sys.executable, "-m", "aiosmtpd", "--nosetuid", "--smtputf8", "--listen", listen, *mailbox]
        self.process.start(command, env={}, folder=self.folder)

    def check(self) -> None:
        """See Server."""
        with smtplib.SMTP(HOST, self.port("smtp"), timeout=5) as client:
            client.noop()

    def urls(self) -> dict[str, str]:
        """See Server."""
        return {"SMTP_URL": f"smtp://{HOST}:{self.port('smtp')}?starttls=never"}
