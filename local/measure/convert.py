"""A ten-minute recording: our convert function beside bare ffmpeg, by wall clock and by CPU."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from local.measure.figures import Bound, Figure, alone, compared, interleaved
from local.measure.media import Cost, bare, make_video
from local.measure.processes import clean_environment

_MOST = Bound(1.05)


def measure(folder: Path, *, quick: bool, say: Callable[[str], None]) -> list[Figure]:
    """Compare.

    Args:
        folder: an empty folder to work in.
        quick: whether to see only that it works.
        say: told what is going on.
    """
    seconds, repeats = (20, 2) if quick else (600, 5)
    source = folder / "recording.mp4"
    say(f"making a recording of {seconds} s")
    make_video(source, seconds=seconds)
    bare(source, folder / "warm.mp3")
    pairs = []
    for pair in interleaved(repeats, lambda: _ours(source, folder / "state"), lambda: bare(source, folder / "out.mp3")):
        pairs.append(pair)
        ours, theirs = pair
        say(f"pair {len(pairs)} of {repeats}: {ours.wall_seconds:.2f} s beside {theirs.wall_seconds:.2f} s")
    name = f"convert {seconds} s"
    walls = [(ours.wall_seconds, theirs.wall_seconds) for ours, theirs in pairs]
    cpus = [(ours.cpu_seconds, theirs.cpu_seconds) for ours, theirs in pairs]
    return [
        compared(f"{name}: wall", "s", walls, _MOST),
        compared(f"{name}: CPU", "s", cpus, _MOST),
        alone("convert: our own process's CPU", "ms", [ours.own_cpu_seconds * 1000 for ours, _ in pairs]),
    ]


def _ours(source: Path, directory: Path) -> Cost:
    command = [sys.executable, "-P", "-m", "local.measure.converting", str(source), str(directory)]
    try:
        said = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=clean_environment()).stdout
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Cost(**json.loads(said))
