"""Whole recordings, encoded in many runs and in one: whether the MP3 is the same, and how many joins that took."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from functions.common.options import Options
from functions.convert.ffmpeg import quality
from functions.convert.joining import OVERLAP, STEP, WARM_UP, Apart, join
from functions.convert.mpeg import samples_per_frame
from functions.convert.processors import usable
from functions.convert.runs import GrowingRun, Settings, encode_run
from functions.convert.sandbox import Limits
from local.measure.figures import Bound, Figure, alone

#: A run each.
_PART_SECONDS: Final = 30
_SETTINGS: Final = (
    Options(bitrate=128),
    Options(bitrate=320),
    Options(bitrate=64, channels=1),
    Options(quality=0),
    Options(quality=2),
    Options(quality=9),
)
_NONE: Final = Bound(0)
_UNLIMITED: Final = Limits(None)


def measure(folder: Path, recordings: Sequence[Path], *, say: Callable[[str], None]) -> list[Figure]:
    """Compare each recording at several strengths.

    Args:
        folder: an empty folder to work in.
        recordings: files that ffmpeg reads.
        say: told what is going on.
    """
    joins, apart, different = 0, 0, 0
    for recording in recordings:
        for options in _SETTINGS:
            made = _compare(folder, recording.resolve(), options)
            joins, apart, different = joins + made[0], apart + made[1], different + made[2]
            say(f"{recording.name} {options.as_dict()}: {made[0]} joins, {made[1]} late, {made[2]} files differ")
    return [
        alone("joins that were compared", "", [joins]),
        alone("joins that needed a longer run", "", [apart]),
        alone("files that differ", "", [different], _NONE),
    ]


def _compare(folder: Path, source: Path, options: Options) -> tuple[int, int, int]:
    """How many joins there were, how many of them came late, and whether the file is another one."""
    whole = encode_run(source, folder / "whole", 0, None, Settings(options), _UNLIMITED)
    if whole.header is None:
        raise RuntimeError(f"{source} has no sound that can be read")
    rate_hz = whole.header.rate_hz
    part = _PART_SECONDS * rate_hz // samples_per_frame(rate_hz) // STEP * STEP
    firsts = range(0, max(1, whole.made - part), part)

    def encoded(first: int, frames: int | None) -> GrowingRun:
        return encode_run(source, folder / f"run-{first}", first, frames, Settings(options, rate_hz), _UNLIMITED)

    with ThreadPoolExecutor(usable()) as pool:
        runs = list(pool.map(lambda first: encoded(first, None if first == firsts[-1] else part), firsts))
    join([whole], folder / "whole.mp3", tag=b"", quality=quality(options))
    apart = 0
    while True:
        try:
            join(runs, folder / "joined.mp3", tag=b"", quality=quality(options))
            break
        except Apart as error:
            apart += 1
            late = runs[error.index]
            warm_up = min(late.first_frame, WARM_UP)
            runs[error.index] = encoded(late.first_frame, 2 * (late.made - warm_up - OVERLAP))
    differs = (folder / "whole.mp3").read_bytes() != (folder / "joined.mp3").read_bytes()
    for path in folder.iterdir():
        path.unlink()
    return len(runs) - 1, apart, int(differs)
