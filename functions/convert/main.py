"""convert over HTTP: the event of an upload comes in, the event of its outcome goes back as the reply."""

from flask import Request, Response

from functions.common import events
from functions.common.app import backends, event_notice, event_reply


def convert(request: Request) -> Response:
    """Answer one event."""
    from functions.convert.service import Converter, Terms

    notice = event_notice(request, events.UPLOADED)
    if notice is None:
        return event_reply(None)
    made = backends()
    config = made.config
    converter = Converter(
        jobs=made.jobs,
        blobs=made.blobs,
        terms=Terms(
            seconds=config.convert_seconds,
            max_duration_seconds=config.max_duration_seconds,
            slots=config.convert_slots,
            cpus=config.convert_cpus,
            work_dir=config.work_dir,
            crash_at=config.crash_at,
        ),
        waker=made.waker,
        halting=made.halting.is_set,
    )
    return event_reply(converter.handle(notice))
