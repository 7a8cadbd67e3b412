"""notify over HTTP: the event of an outcome comes in, a mail goes out."""

from flask import Request, Response

from functions.common import events
from functions.common.app import backends, event_notice, event_reply


def notify(request: Request) -> Response:
    """Answer one event."""
    from functions.notify.mail import from_url
    from functions.notify.service import Notifier

    notice = event_notice(request, events.SUCCEEDED, events.FAILED)
    if notice is not None:
        made = backends()
        Notifier(
            jobs=made.jobs,
            mails=made.mails,
            links=made.links,
            mailer=from_url(made.config.mail_url),
            sender=made.config.mail_from,
            public_url=made.config.public_url,
            crash_at=made.config.crash_at,
        ).handle(notice)
    return event_reply(None)
