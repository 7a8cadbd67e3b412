"""When the jobs of a burst arrive, and what they are."""

from pathlib import Path

import pytest

from local.loadtest.arrivals import Arrivals, Kind, NoArrivals, parse
from local.loadtest.media import Clip, Lengths, NoMedia, parse_lengths
from local.loadtest.plan import draw


def test_all_at_once() -> None:
    """Every job arrives at the first moment."""
    assert parse("at-once").offsets(3, seed=1) == [0.0, 0.0, 0.0]


def test_a_ramp_fills_its_time_evenly() -> None:
    """The first job comes at once, the last one at the end."""
    assert parse("ramp:10").offsets(5, seed=1) == [0.0, 2.5, 5.0, 7.5, 10.0]
    assert parse("ramp:10").offsets(1, seed=1) == [0.0]


def test_strangers_come_at_their_rate() -> None:
    """A Poisson process keeps its rate, in order; its seed decides the moments."""
    moments = parse("poisson:4").offsets(4000, seed=1)
    assert moments == sorted(moments)
    assert 900 < moments[-1] < 1100
    assert moments == parse("poisson:4").offsets(4000, seed=1)
    assert moments != parse("poisson:4").offsets(4000, seed=2)


@pytest.mark.parametrize("text", ["", "at-once:3", "ramp", "ramp:0", "ramp:-1", "poisson:nan", "poisson:x", "later:3"])
def test_other_words_are_no_arrivals(text: str) -> None:
    """What cannot be meant is refused, with what can."""
    with pytest.raises(NoArrivals, match="poisson:RATE"):
        parse(text)


@pytest.mark.parametrize("text", ["at-once", "ramp:30", "poisson:2.5"])
def test_arrivals_are_told_as_they_were_given(text: str) -> None:
    """A report has the words of the command line."""
    assert str(parse(text)) == text


def test_lengths() -> None:
    """One length, or from one to another."""
    assert parse_lengths("2") == Lengths(2, 2)
    assert parse_lengths("1-30") == Lengths(1, 30)
    for text in ("", "x", "5-1", "0", "1-9999"):
        with pytest.raises(NoMedia):
            parse_lengths(text)


def test_a_plan_follows_its_seed() -> None:
    """The same seed draws the same clips and options; accounts take turns, and no two jobs share a key."""
    clips = [Clip(Path(f"{name}.mp4"), 2.0, 10, name * 64) for name in "ab"]
    offsets = Arrivals(Kind.AT_ONCE).offsets(12, seed=1)
    first, second = (draw(offsets, clips, accounts=5, seed=7) for _ in range(2))
    assert [(order.clip, order.options) for order in first] == [(order.clip, order.options) for order in second]
    assert [order.account for order in first] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert len({order.key for order in (*first, *second)}) == 24
    assert {str(order.options) for order in draw(offsets, clips, accounts=1, seed=7, various=False)} == {"{}"}
