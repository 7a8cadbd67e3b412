"""One burst from its beginning to its report; the command line and tests call `run`."""

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from functions.convert.processors import usable
from local.loadtest import media, plan, proof
from local.loadtest.api import register
from local.loadtest.evidence import Evidence, download_all
from local.loadtest.figures import Figures, percentile, reckon, waits
from local.loadtest.journal import Journal
from local.loadtest.load import Load
from local.loadtest.report import Report
from local.loadtest.samples import Sample, Sampler
from local.loadtest.terms import Place, View, Wish
from local.measure import machine

_LOOK_SECONDS: Final = 0.1
#: How long functions may take to fall asleep at the end.
_ASLEEP_SECONDS: Final = 300.0
#: After so long without any change under faults, recover is asked to look.
_STILL_SECONDS: Final = 10.0
#: Looks after the end, so that plots show it.
_AFTERWARDS_SECONDS: Final = 1.5


def run(wish: Wish, place: Place, view: View) -> Report:
    """Make a burst on a server that answers, and say what came of it.

    Args:
        wish: what is asked for.
        place: the server.
        view: whoever watches.

    Raises:
        Refused: the server takes no accounts.
        NoMedia: there is nothing to upload.
    """
    work = wish.output / "work"
    work.mkdir(parents=True, exist_ok=True)
    clips = (
        media.find(wish.recordings)
        if wish.recordings
        else media.make_mix(work / "media", wish.lengths, seed=wish.seed, say=view.say)
    )
    view.say(f"registering {wish.accounts} accounts" if wish.accounts > 1 else "registering an account")
    accounts = [register(place.url, place.host) for _ in range(wish.accounts)]
    place.use(accounts)
    offsets = wish.arrivals.offsets(wish.jobs, seed=wish.seed)
    orders = plan.draw(offsets, clips, accounts=wish.accounts, seed=wish.seed, various=wish.various)
    written = work / "plan.json"
    tokens = [account.token for account in accounts]
    plan.write(
        written,
        url=place.url,
        host=place.host,
        tokens=tokens,
        orders=orders,
        patience_seconds=wish.patience_seconds,
    )
    journal, began = Journal(orders), datetime.now(UTC)
    evidence = Evidence(journal.records)
    with Load(written, journal, wish.output / "generator.log") as load:
        sampler = Sampler(place, journal, generator=load.process, told=lambda sample: view.show(sample, journal))
        with _interruptible() as interrupted:
            _watch(wish, place, journal, load, sampler, evidence, interrupted)
            evidence.interrupted = interrupted.is_set()
    starts = place.starts()
    view.say("proving what became of each job")
    if not evidence.interrupted:
        evidence.results = download_all(journal.records, accounts, told=lambda _count: None)
    place.gather(evidence, journal.began)
    return _conclude(wish, place, journal, sampler.samples, evidence, clips, began, starts)


def _watch(
    wish: Wish,
    place: Place,
    journal: Journal,
    load: Load,
    sampler: Sampler,
    evidence: Evidence,
    interrupted: threading.Event,
) -> None:
    """Begin, and wait until every job has its end, nothing happens any more, or somebody is tired of it."""
    sampler.start()
    load.begin()
    try:
        if wish.faults:
            with place.strikes(journal, seed=wish.seed) as strikes:
                evidence.strikes = strikes
                _until_ended(wish, place, journal, load, interrupted)
        else:
            _until_ended(wish, place, journal, load, interrupted)
        ends = time.monotonic() + (_ASLEEP_SECONDS if place.sleeps else 0.0)
        while not place.asleep() and time.monotonic() < ends and not interrupted.wait(_LOOK_SECONDS):
            pass
        interrupted.wait(_AFTERWARDS_SECONDS)
    finally:
        sampler.stop()


def _until_ended(wish: Wish, place: Place, journal: Journal, load: Load, interrupted: threading.Event) -> None:
    standings, changed = journal.standings(), time.monotonic()
    nudged = changed
    while not interrupted.wait(_LOOK_SECONDS):
        found = journal.standings()
        if found != standings:
            standings, changed = found, time.monotonic()
        if load.ended() and not journal.unfinished(mails=place.sees_mails):
            return
        if time.monotonic() - changed > wish.patience_seconds:
            return
        if wish.faults and time.monotonic() - max(changed, nudged) > _STILL_SECONDS:
            # What an unlucky moment left to recover would wait for its ping, minutes later.
            place.nudge()
            nudged = time.monotonic()


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Have Ctrl-C and SIGTERM set an event, once; the second one ends everything."""
    import signal

    interrupted = threading.Event()

    def note(_number: int, _frame: object) -> None:
        interrupted.set()
        restore()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield interrupted
    finally:
        restore()


def _conclude(
    wish: Wish,
    place: Place,
    journal: Journal,
    samples: Sequence[Sample],
    evidence: Evidence,
    clips: Sequence[media.Clip],
    began: datetime,
    starts: dict[str, list[float]],
) -> Report:
    cpus = usable()
    figures = reckon(
        journal.records,
        samples,
        cpus=cpus,
        slots=place.slots,
        converters=place.converters,
        starts=starts,
        sees_mails=place.sees_mails,
        same_machine=place.is_here,
    )
    facts = {
        "began": began.isoformat(timespec="seconds"),
        "jobs": wish.jobs,
        "arrivals": str(wish.arrivals),
        "accounts": wish.accounts,
        "seed": wish.seed,
        "faults": wish.faults,
        "cpus": cpus,
        "media": [clip.as_dict() for clip in clips],
        **place.facts(),
        "machine": machine.facts(),
    }
    return Report(
        facts=facts,
        figures=figures,
        verdicts=tuple(proof.judge(evidence)),
        records=tuple(journal.records),
        samples=tuple(samples),
        strikes=tuple(evidence.strikes),
        unseen=place.unseen,
        missed=tuple(_missed(wish, figures, journal)),
        interrupted=evidence.interrupted,
    )


def _missed(wish: Wish, figures: Figures, journal: Journal) -> Iterator[str]:
    found = waits([record for record in journal.records if record.state == "succeeded"], "total")
    if wish.max_p95_seconds is not None:
        p95 = percentile(found, 95) if found else None
        if p95 is None or p95 > wish.max_p95_seconds:
            yield f"95 % of the jobs took up to {_told(p95)} s, and {wish.max_p95_seconds:g} s were allowed"
    if wish.max_ratio is not None and (figures.ratio is None or figures.ratio > wish.max_ratio):
        yield f"the time is {_told(figures.ratio)} times the bound, and {wish.max_ratio:g} were allowed"


def _told(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def clean_up(wish: Wish, report: Report) -> Path | None:
    """Remove what only the burst needed; where a promise was broken it stays as evidence, and is returned."""
    work = wish.output / "work"
    if report.broken:
        return work
    shutil.rmtree(work, ignore_errors=True)
    return None
