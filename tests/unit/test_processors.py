"""How many processors there are to use, and who gets them."""

import os
from pathlib import Path
from typing import Final

import pytest

from functions.convert.processors import Processors, usable

ALL: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.mark.parametrize(
    ("quota", "processors"),
    [
        ("max 100000", ALL),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("150000 100000", min(2, ALL)),
        ("1000000 100000", min(10, ALL)),
        ("nonsense", ALL),
        ("", ALL),
    ],
)
def test_a_quota(quota: str, processors: int, tmp_path: Path) -> None:
    """A container's quota counts in whole processors, at least one, never more than the affinity allows."""
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert usable(tmp_path) == processors


@pytest.mark.parametrize(("quota", "processors"), [("-1", ALL), ("100000", 1), ("120000", min(2, ALL))])
def test_a_quota_of_the_first_version(quota: str, processors: int, tmp_path: Path) -> None:
    """Older systems tell it in two files, and no limit by a negative number."""
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert usable(tmp_path) == processors


def test_without_cgroups(tmp_path: Path) -> None:
    """Elsewhere all count."""
    assert usable(tmp_path) == ALL


def test_idle_processors_are_shared_out() -> None:
    """Who comes first gets what is idle; everybody gets one; what is given back is idle again."""
    processors = Processors(4)
    with processors.share() as first:
        assert first.more(2) == 2
        with processors.share() as second:
            assert second.more(5) == 0
        with processors.share() as third, processors.share() as fourth:
            assert (third.more(1), fourth.more(1)) == (0, 0)
    with processors.share() as alone:
        assert (alone.more(-1), alone.more(0), alone.more(100)) == (0, 0, 3)
