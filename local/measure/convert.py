"""Recordings of ten minutes and an hour: our convert function beside bare ffmpeg, MoviePy and pydub.

Ours makes of a recording what the others make of it, its sound. What all that it makes for users adds to that, the tag
and the waveform, is less than two runs differ by if one follows the other: so both run at once, on the same machine at
the same time.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from functions.common.options import Options
from local.measure import peers
from local.measure.figures import Bound, Figure, Pair, alone, compared, interleaved
from local.measure.media import Cost, bare, make_mp3_video, make_video
from local.measure.processes import clean_environment, without_walls

#: How strong, and what bare ffmpeg is told for the same.
STRENGTHS: Final[Mapping[str, tuple[Options, list[str]]]] = {
    "128k": (Options(bitrate=128), ["-b:a", "128k"]),
    "V2": (Options(), ["-q:a", "2"]),
    "320k": (Options(bitrate=320), ["-b:a", "320k"]),
}
_MOST_WALL: Final = Bound(0.60)
_MOST_CPU: Final = Bound(1.10)
_MOST_WALL_ALONE: Final = Bound(1.03)
_MOST_MEBIBYTES: Final = Bound(150)
#: What tag and waveform may add to each.
_MOST_BESIDE_PLAIN: Final = Bound(1.03)
_MOST_OF_MOVIEPY: Final = Bound(0.75)
_MOST_COPY: Final = Bound(0.05)
_MIB: Final = 1024 * 1024


def measure(folder: Path, *, quick: bool, say: Callable[[str], None]) -> list[Figure]:
    """Compare.

    Args:
        folder: an empty folder to work in.
        quick: whether to see only that it works.
        say: told what is going on.
    """
    short, long = folder / "short.mp4", folder / "long.mp4"
    lengths = {short: 20, long: 60} if quick else {short: 600, long: 3600}
    for path, seconds in lengths.items():
        say(f"making a recording of {seconds} s")
        make_video(path, seconds=seconds, title="A recording")
    bare(short, folder / "warm.mp3", ["-q:a", "2"])
    bench = _Bench(folder, quick=quick, say=say)
    figures = bench.at_once(short, f"{lengths[short]} s V2")
    for path, seconds in lengths.items():
        figures += bench.encoded(path, f"{seconds} s", repeats=11 if path == short else 3)
    figures += bench.on_one_processor(short, f"{lengths[short]} s V2")
    figures += bench.beside_peers(short, f"{lengths[short]} s 128k")
    figures += bench.copied(long, f"{lengths[long]} s")
    return figures


class _Bench:
    """Measures conversions.

    Args:
        folder: to work in.
        quick: whether once is enough.
        say: told what is going on.
    """

    def __init__(self, folder: Path, *, quick: bool, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._quick = quick
        self._say = say
        self._without_walls = without_walls(folder / "no-walls")

    def at_once(self, source: Path, name: str) -> list[Figure]:
        """Two bare ffmpegs at once beside one after the other: what two processors take from each other here."""
        targets = [self._folder / "one.mp3", self._folder / "other.mp3"]
        make = partial(bare, source, strength=STRENGTHS["V2"][1])

        def both(apply: Callable[[Callable[[Path], Cost], list[Path]], Iterable[Cost]]) -> float:
            return sum(cost.cpu_seconds for cost in apply(make, targets))

        with ThreadPoolExecutor(len(targets)) as pool:
            pairs = list(interleaved(1 if self._quick else 5, lambda: both(pool.map), lambda: both(map)))
        return [compared(f"two bare ffmpegs at once, {name}: CPU", "s", [(one, two) for one, two in pairs], None)]

    def encoded(self, source: Path, name: str, *, repeats: int) -> list[Figure]:
        """On all processors, beside bare ffmpeg, and with all that comes with the sound."""
        names = [f"{name} {strength}" for strength in STRENGTHS]
        each = list(zip(names, STRENGTHS, strict=True))
        turns = [self._turns(source, *one, repeats, cpus=0) for one in each]
        turns += [self._at_once(source, *one, repeats, cpus=0) for one in each]
        # All strengths in turns, too: how much processors take from each other changes from minute to minute.
        taken = list(zip(*zip(*turns, strict=True), strict=True))
        by_name = zip(names, taken[: len(names)], taken[len(names) :], strict=True)
        return [figure for name, sound, more in by_name for figure in _figures(name, sound, more)]

    def on_one_processor(self, source: Path, name: str) -> list[Figure]:
        """With CONVERT_CPUS=1."""
        name = f"{name}, one processor"
        sound = list(map(_wall, self._turns(source, name, "V2", 5, cpus=1)))
        more = list(map(_cpu, self._at_once(source, name, "V2", 5, cpus=1)))
        return [
            compared(f"convert {name}: wall", "s", sound, _MOST_WALL_ALONE),
            compared("  tag and waveform beside it: CPU", "s", more, _MOST_BESIDE_PLAIN),
        ]

    def beside_peers(self, source: Path, name: str) -> list[Figure]:
        """Beside MoviePy and pydub, by their own default ways to an MP3."""
        python = peers.python(self._say)
        figures = []
        for peer, bound in (("moviepy", _MOST_OF_MOVIEPY), ("pydub", None)):
            pairs = []
            for pair in interleaved(
                1 if self._quick else 3,
                lambda: self._ours(source, "128k", cpus=0),
                partial(peers.cost, python, peer, source, self._folder / "peer.mp3"),
            ):
                pairs.append(_cpu(pair))
                self._say(
                    f"{name} beside {peer}: {pair[0].cpu_seconds:.2f} s beside {pair[1].cpu_seconds:.2f} s of CPU"
                )
            figures.append(compared(f"convert {name} beside {peer}: CPU", "s", pairs, bound))
        return figures

    def copied(self, source: Path, name: str) -> list[Figure]:
        """A recording that is an MP3 already, beside bare ffmpeg that encodes it."""
        video = self._folder / "mp3.mp4"
        make_mp3_video(source, video)
        pairs = []
        for ours, theirs in interleaved(
            1 if self._quick else 3,
            lambda: self._ours(video, "V2", cpus=0),
            lambda: bare(video, self._folder / "bare.mp3", ["-q:a", "2"]),
        ):
            pairs.append((ours, theirs))
            self._say(f"copying {name}: {ours.wall_seconds:.2f} s beside {theirs.wall_seconds:.2f} s of encoding")
        return [
            compared(f"copy {name} beside encoding it: wall", "s", list(map(_wall, pairs)), _MOST_COPY),
            compared(f"copy {name} beside encoding it: CPU", "s", list(map(_cpu, pairs)), _MOST_COPY),
        ]

    def _turns(self, source: Path, name: str, strength: str, repeats: int, *, cpus: int) -> Iterator[tuple[Cost, Cost]]:
        """What our sound alone takes, and bare ffmpeg, one right after the other."""
        for ours, theirs in interleaved(
            1 if self._quick else repeats,
            lambda: self._ours(source, strength, "plain", cpus=cpus),
            lambda: bare(source, self._folder / "bare.mp3", STRENGTHS[strength][1]),
        ):
            self._say(f"{name}: {_told(ours)} beside {_told(theirs)} for bare ffmpeg")
            yield ours, theirs

    def _at_once(
        self, source: Path, name: str, strength: str, repeats: int, *, cpus: int
    ) -> Iterator[tuple[Cost, Cost]]:
        """What ours takes with all that comes with the sound, and what the sound alone does: both at once.

        With one processor each they share one, since no two are alike while others use this machine.
        """
        ways: list[tuple[str, ...]] = [(), ("plain",)]
        with ThreadPoolExecutor(len(ways), initializer=_stay if cpus == 1 else None) as pool:
            for _ in range(1 if self._quick else repeats):
                # Whoever begins has a processor to itself for a moment.
                begun = {how: pool.submit(self._ours, source, strength, *how, cpus=cpus) for how in ways}
                ours, sound = begun[()].result(), begun["plain",].result()
                self._say(f"{name}: {_told(ours)} with tag and waveform beside {_told(sound)} without")
                yield ours, sound
                ways.reverse()

    def _ours(self, source: Path, strength: str, *how: str, cpus: int) -> Cost:
        directory = Path(tempfile.mkdtemp(prefix="state-", dir=self._folder))
        options = json.dumps(STRENGTHS[strength][0].as_dict())
        command = [sys.executable, "-P", "-m", "local.measure.converting", str(source), str(directory), options, *how]
        env = clean_environment({**self._without_walls, "CONVERT_CPUS": str(cpus)})
        try:
            said = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=env).stdout
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return Cost(**json.loads(said))


def _figures(name: str, sound: Sequence[Sequence[Cost]], more: Sequence[Sequence[Cost]]) -> list[Figure]:
    """Of the sound alone beside bare ffmpeg, and of the sound with all that comes with it beside the sound alone."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    peaks = [ours.peak_bytes / _MIB for ours, _ in more]
    return [
        compared(f"convert {name}: wall", "s", list(map(_wall, sound)), _MOST_WALL if cores == 2 else None),
        compared(f"convert {name}: CPU", "s", list(map(_cpu, sound)), _MOST_CPU),
        compared("  tag and waveform beside it: wall", "s", list(map(_wall, more)), _MOST_BESIDE_PLAIN),
        compared("  tag and waveform beside it: CPU", "s", list(map(_cpu, more)), _MOST_BESIDE_PLAIN),
        alone("  tag and waveform: memory", "MiB", peaks, _MOST_MEBIBYTES),
    ]


def _stay() -> None:
    """Keep this thread, and what it starts, to the first processor, where that is possible (Linux)."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _told(cost: Cost) -> str:
    return f"{cost.wall_seconds:.2f} s ({cost.cpu_seconds:.2f} s of CPU)"


def _wall(pair: Sequence[Cost]) -> Pair:
    ours, theirs = pair
    return ours.wall_seconds, theirs.wall_seconds


def _cpu(pair: Sequence[Cost]) -> Pair:
    ours, theirs = pair
    return ours.cpu_seconds, theirs.cpu_seconds
