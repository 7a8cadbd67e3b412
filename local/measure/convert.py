"""Recordings of ten minutes and an hour: our convert function beside bare ffmpeg, MoviePy and pydub.

Ours is measured twice: making of a recording what bare ffmpeg makes of it, its sound, and making all that it makes for
users, with the tag and the waveform.
"""

import json
import os
import shutil
import subprocess
import sys
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
        turns = [self._turns(source, *each, repeats, cpus=0) for each in zip(names, STRENGTHS, strict=True)]
        # All strengths in turns, too: how much processors take from each other changes from minute to minute.
        rounds = zip(*turns, strict=True)
        taken = zip(names, zip(*rounds, strict=True), strict=True)
        return [figure for name, costs in taken for figure in _figures(name, costs)]

    def on_one_processor(self, source: Path, name: str) -> list[Figure]:
        """With CONVERT_CPUS=1."""
        name = f"{name}, one processor"
        taken = list(self._turns(source, name, "V2", 5, cpus=1))
        wall = [_wall((sound, theirs)) for theirs, sound, _ in taken]
        more = [_wall((ours, sound)) for _, sound, ours in taken]
        return [
            compared(f"convert {name}: wall", "s", wall, _MOST_WALL_ALONE),
            compared("  tag and waveform beside it: wall", "s", more, _MOST_BESIDE_PLAIN),
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

    def _turns(self, source: Path, name: str, strength: str, repeats: int, *, cpus: int) -> Iterator[tuple[Cost, ...]]:
        """What bare ffmpeg takes, our sound alone, and ours with all that comes with it: each beside its peer."""
        for turn in interleaved(
            1 if self._quick else repeats,
            lambda: bare(source, self._folder / "bare.mp3", STRENGTHS[strength][1]),
            lambda: self._ours(source, strength, "plain", cpus=cpus),
            lambda: self._ours(source, strength, cpus=cpus),
        ):
            each = (f"{cost.wall_seconds:.2f} s ({cost.cpu_seconds:.2f} s of CPU)" for cost in turn)
            self._say(f"{name}: {' beside '.join(each)}")
            yield turn

    def _ours(self, source: Path, strength: str, *how: str, cpus: int) -> Cost:
        directory = self._folder / "state"
        options = json.dumps(STRENGTHS[strength][0].as_dict())
        command = [sys.executable, "-P", "-m", "local.measure.converting", str(source), str(directory), options, *how]
        env = clean_environment({**self._without_walls, "CONVERT_CPUS": str(cpus)})
        try:
            said = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=env).stdout
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return Cost(**json.loads(said))


def _figures(name: str, taken: Sequence[Sequence[Cost]]) -> list[Figure]:
    """Of bare ffmpeg, the sound alone, and the sound with all that comes with it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    sound = [(sound, theirs) for theirs, sound, _ in taken]
    more = [(ours, sound) for _, sound, ours in taken]
    peaks = [ours.peak_bytes / _MIB for _, _, ours in taken]
    return [
        compared(f"convert {name}: wall", "s", list(map(_wall, sound)), _MOST_WALL if cores == 2 else None),
        compared(f"convert {name}: CPU", "s", list(map(_cpu, sound)), _MOST_CPU),
        compared("  tag and waveform beside it: wall", "s", list(map(_wall, more)), _MOST_BESIDE_PLAIN),
        compared("  tag and waveform beside it: CPU", "s", list(map(_cpu, more)), _MOST_BESIDE_PLAIN),
        alone("  tag and waveform: memory", "MiB", peaks, _MOST_MEBIBYTES),
    ]


def _wall(pair: Sequence[Cost]) -> Pair:
    ours, theirs = pair
    return ours.wall_seconds, theirs.wall_seconds


def _cpu(pair: Sequence[Cost]) -> Pair:
    ours, theirs = pair
    return ours.cpu_seconds, theirs.cpu_seconds
