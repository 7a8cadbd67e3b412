"""A few kills -9 at random moments under load; `python -m tests.faults.kills` does it at length."""

from pathlib import Path

from tests.faults.kills import run

KILLS = 8


def test_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path) -> None:
    """Whenever the server is killed, each upload with a 202 ends as one MP3 and one mail, and nothing else stays."""
    line, broken = run(tmp_path / "state", seed=20_26, kills=KILLS)
    assert broken == [], line
