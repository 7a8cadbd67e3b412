"""Mailing one outcome, once: claim the mail's row, send, mark it sent."""

import logging
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from functions.common import events
from functions.common.crash import crash_point
from functions.common.errors import Conflict, Unavailable
from functions.common.events import Notice
from functions.common.job import MICROSECONDS, REASONS, Job, State, iso_time
from functions.notify.mail import Mailer, MailRefused, MailUnavailable
from functions.notify.message import compose

if TYPE_CHECKING:
    from email.message import EmailMessage

    from functions.common.jobs import Jobs
    from functions.common.links import Links
    from functions.common.mails import Mails

_OUTCOMES = {events.SUCCEEDED: State.SUCCEEDED, events.FAILED: State.FAILED}
_log = logging.getLogger(__name__)


class Notifier:
    """Sends the mails that jobs owe.

    Args:
        jobs: where the rows are.
        mails: where the mails' rows are.
        links: signs the link to the result.
        mailer: sends.
        sender: address in From.
        public_url: base of links.
        crash_at: fault tests' crash point.
    """

    def __init__(
        self,
        *,
        jobs: "Jobs",
        mails: "Mails",
        links: "Links",
        mailer: Mailer,
        sender: str,
        public_url: str,
        crash_at: str = "",
    ) -> None:
        self._jobs = jobs
        self._mails = mails
        self._links = links
        self._mailer = mailer
        self._sender = sender
        self._public_url = public_url
        self._crash_at = crash_at

    def handle(self, notice: Notice) -> None:
        """Send the mail of the outcome that an event tells, unless it was sent.

        Raises:
            Conflict: somebody is sending it right now.
            Unavailable: it could not be sent now; it stays owed.
        """
        from functions.common.mails import MailClaim

        outcome = _OUTCOMES[notice.type]
        job = self._jobs.get(notice.job_id)
        if job is None or job.run != notice.run or job.state is not outcome:
            return
        mail = (job.id, job.run, outcome.value)
        claim = self._mails.claim(*mail)
        if claim is MailClaim.LEASED:
            raise Conflict("This mail is being sent.", retry_after_seconds=5)
        if claim is MailClaim.DONE:
            return
        address = self._mails.address(job.owner)
        if address is None:
            _log.warning("the owner of a job has no account; its mail is given up")
            self._mails.undelivered(*mail)
            return
        try:
            message = self._message(job, address)
        except ValueError:
            # An address that fits into no header will not fit tomorrow either.
            _log.exception("the mail cannot be written; it is given up")
            self._mails.undelivered(*mail)
            return
        self._send(message, mail)

    def _send(self, message: "EmailMessage", mail: tuple[str, int, str]) -> None:
        try:
            self._mailer.send(message)
        except MailRefused:
            _log.warning("the mail server refuses this mail for good", exc_info=True)
            self._mails.undelivered(*mail)
            return
        except MailUnavailable as error:
            self._mails.release(*mail)
            raise Unavailable("The mail could not be sent.", retry_after_seconds=30) from error
        crash_point("mailed-not-marked", self._crash_at)
        self._mails.sent(*mail)
        _log.info("mailed")

    def _message(self, job: Job, address: str) -> "EmailMessage":
        succeeded = job.state is State.SUCCEEDED
        link = None
        if succeeded and job.expires:
            left_seconds = job.expires / MICROSECONDS - time.time()
            link = self._public_url + self._links.make(job.id, seconds=left_seconds)
        return compose(
            outcome="succeeded" if succeeded else "failed",
            to=address,
            sender=self._sender,
            filename=job.filename,
            file_id=job.id,
            run=job.run,
            link=link,
            sentence=REASONS.get(job.reason or ""),
            duration_seconds=job.duration_seconds,
            expires=iso_time(job.expires),
            message_domain=_domain(self._public_url),
        )


def _domain(public_url: str) -> str:
    """The host of our links, as the right side of a Message-ID."""
    host = urlsplit(public_url).hostname or ""
    try:
        domain = host.encode("idna").decode()
    except UnicodeError:
        domain = ""
    # An IPv6 address has no place there.
    return domain if domain and ":" not in domain else "localhost"
