"""Whether every promise was kept, job by job and not by counting."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from functions.common.job import result_key, source_key, waveform_key
from local.loadtest.evidence import Evidence, Strike
from local.loadtest.journal import Record
from local.loadtest.server import Mail

#: What an encoder may add to a recording, and a container may round.
SLACK_SECONDS: Final = 0.15
#: How clients are to be turned away for now.
_CLEAR: Final = (429, 503, 507)
#: What a fault has to hit for a mail to come twice: it fell between the mail server's yes and our mark.
_REPEATS_MAILS: Final = ("notify", "server", "database")


@dataclass(frozen=True)
class Verdict:
    """What became of one promise."""

    promise: str
    #: Every time that it was broken, in words; each names its job.
    broken: tuple[str, ...]
    #: Why it could not be looked at; empty where it was.
    unseen: str = ""

    @property
    def kept(self) -> bool | None:
        """None where nobody could look."""
        return None if self.unseen and not self.broken else not self.broken


def judge(evidence: Evidence) -> list[Verdict]:
    """Hold everything that is known against every promise."""
    found = []
    for promise, check, unseen in _PROMISES:
        reason = unseen(evidence)
        found.append(Verdict(promise, () if reason else tuple(check(evidence)), reason))
    return found


def _ended(evidence: Evidence) -> Iterator[str]:
    """Every 202 is one job, which ended once and well."""
    ids = Counter(record.id for record in evidence.records if record.id)
    yield from (f"{job_id} is the job of {count} uploads" for job_id, count in ids.items() if count > 1)
    for record in evidence.records:
        if record.id is None:
            if not evidence.interrupted:
                yield f"upload {record.number} ({record.name}) never had its 202"
        elif record.state == "gone":
            yield f"{record.id} had its 202 and is lost"
        elif record.state in ("queued", "converting", "receiving", None):
            if not evidence.interrupted:
                yield f"{record.id} never ended: it is {record.state or 'unseen'}"
        elif record.state != "succeeded" or record.run != 1:
            yield f"{record.id} ended {record.state} ({record.reason}) in run {record.run}"
    known = set(ids)
    # An upload that never had its answer may have left a row, which nobody was promised anything of.
    excused = any(record.id is None for record in evidence.records)
    for row in evidence.rows or ():
        if row["id"] not in known and not (excused and row["state"] == "receiving"):
            yield f"{row['id']} is nobody's: an upload was taken twice"


def _whole(evidence: Evidence) -> Iterator[str]:
    """Every MP3 can be read and lasts as long as its source."""
    for record in _succeeded(evidence):
        result = evidence.results.get(record.id or "")
        if result is None:
            if not evidence.interrupted:
                yield f"{record.id} was not downloaded"
        elif result.status != 200:
            yield f"{record.id} is downloaded as {result.status or 'nothing'}"
        elif result.seconds is None:
            yield f"{record.id} is no MP3"
        elif abs(result.seconds - record.source_seconds) > SLACK_SECONDS:
            yield f"{record.id} lasts {result.seconds:.2f} s, its source {record.source_seconds:.2f} s"


def _same(evidence: Evidence) -> Iterator[str]:
    """The same source and options make the same bytes, and these are what is handed out."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in _succeeded(evidence):
        result = evidence.results.get(record.id or "")
        if result is None or result.status != 200:
            continue
        if record.result_sha256 not in (None, result.sha256):
            yield f"{record.id} is downloaded with other bytes than were stored"
        groups[record.source, str(sorted(record.options.items()))].append(record)
    for records in groups.values():
        digests = Counter(evidence.results[record.id or ""].sha256 for record in records)
        usual = digests.most_common(1)[0][0]
        for record in records:
            if evidence.results[record.id or ""].sha256 != usual:
                yield f"{record.id} has other bytes than most of {record.name} {record.options or ''}".rstrip()


def _mailed(evidence: Evidence) -> Iterator[str]:
    """Each job has one mail, about its end; a second one only where a fault cut its sending."""
    mails: dict[str, list[Mail]] = defaultdict(list)
    for mail in evidence.mails or ():
        mails[mail.job_id].append(mail)
    for record in _succeeded(evidence):
        came = mails.pop(record.id or "", [])
        wrong = [mail for mail in came if (mail.run, mail.outcome) != (1, "succeeded")]
        yield from (f"{record.id} had a mail that tells of {mail.outcome} in run {mail.run}" for mail in wrong)
        if not came and not evidence.interrupted:
            yield f"{record.id} was not told of"
        if len(came) > 1 and not _excused(came, evidence.strikes):
            yield f"{record.id} was told of {len(came)} times"
    failed = {record.id for record in evidence.records if record.state == "failed"}
    yield from (f"{job_id} had a mail and did not succeed" for job_id in mails.keys() - failed)


def _excused(mails: list[Mail], strikes: Sequence[Strike]) -> bool:
    moments = sorted(mail.at for mail in mails)
    return all(
        any(first <= strike.until and strike.at <= second and strike.what in _REPEATS_MAILS for strike in strikes)
        for first, second in pairwise(moments)
    )


def _nothing_left(evidence: Evidence) -> Iterator[str]:
    """Nothing is queued, leased, orphaned or dead-lettered."""
    if evidence.interrupted:
        return
    yield from evidence.busy or ()
    if evidence.dead_letters:
        yield f"{evidence.dead_letters} dead letters are kept"
    yield from (f"{count} messages are left in {name}" for name, count in (evidence.queues or {}).items() if count)
    yield from _orphans(evidence)
    yield from (f"{each} lies about" for each in evidence.litter)


def _orphans(evidence: Evidence) -> Iterator[str]:
    if evidence.blobs is None or evidence.rows is None:
        return
    expected: set[str] = set()
    for row in evidence.rows:
        if row["sources_until"] is not None or row["state"] != "succeeded":
            expected |= {source_key(row["id"], number) for number in range(len(row["sources"]))}
        if row["state"] == "succeeded":
            expected.add(result_key(row["id"], row["attempt"]))
        if row["waveform_size_bytes"] is not None:
            expected.add(waveform_key(row["id"], row["attempt"]))
    stored = Counter(evidence.blobs)
    yield from (f"{key} is nobody's" for key in sorted(stored.keys() - expected))
    yield from (f"{key} is missing" for key in sorted(expected - stored.keys()))
    yield from (f"{key} is stored {count} times" for key, count in stored.items() if count > 1)


def _refused(evidence: Evidence) -> Iterator[str]:
    """Whoever was turned away was told so, and when to come again, and was then taken."""
    for record in evidence.records:
        who = f"upload {record.number} ({record.name})"
        for refusal in record.refusals:
            # What broke off, behind the gateway as well, may still be known as arriving.
            cut = record.broken or any(each.status == 503 and each.at < refusal.at for each in record.refusals)
            clear = (*_CLEAR, 409) if cut else _CLEAR
            if refusal.status not in clear:
                yield f"{who} was answered {refusal.status} {refusal.why}".rstrip()
            elif refusal.retry_after is None or not refusal.retry_after.isdigit():
                yield f"{who} was answered {refusal.status} without saying when to come again"
        if record.broken and not evidence.strikes:
            yield f"{who} had its connection broken: {', '.join(record.broken)}"
        if (record.refusals or record.broken) and record.id is None and not evidence.interrupted:
            yield f"{who} was turned away for good"


def _succeeded(evidence: Evidence) -> Iterator[Record]:
    return (record for record in evidence.records if record.id is not None and record.state == "succeeded")


def _seen(_evidence: Evidence) -> str:
    return ""


def _mails_unseen(evidence: Evidence) -> str:
    return "" if evidence.mails is not None else "the mailbox cannot be seen from here"


def _rest_unseen(evidence: Evidence) -> str:
    if evidence.rows is None and evidence.queues is None:
        return "rows, queues and the store cannot be seen from here"
    return ""


_PROMISES: Final[tuple[tuple[str, Callable[[Evidence], Iterator[str]], Callable[[Evidence], str]], ...]] = (
    ("every 202 is one job that ended once, and well", _ended, _seen),
    ("every MP3 can be read and has the length of its source", _whole, _seen),
    ("the same source and options make the same bytes", _same, _seen),
    ("each job is told of in one mail", _mailed, _mails_unseen),
    ("nothing is left queued, leased, orphaned or dead-lettered", _nothing_left, _rest_unseen),
    ("whoever was turned away was told when to come again, and was taken then", _refused, _seen),
)
