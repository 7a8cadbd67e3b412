"""The recordings that benchmarks convert, and the bare ffmpeg that they are measured against."""

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: A sweep and a pulsing tone left, a swelling tone right: with the noise below, V2 makes of it what it makes of music
#: (197 kbit/s). Silence or a plain sine would be far less work for LAME.
_TONES: Final = (
    "aevalsrc='0.25*sin(2*PI*(220+110*sin(t/3))*t)+0.15*sin(2*PI*587*t)*gt(mod(t,0.5),0.25)"
    "|0.25*sin(2*PI*330*t)*(0.6+0.4*sin(5*t))':s=44100"
)
_NOISE: Final = "anoisesrc=color=pink:amplitude=0.25:r=44100:seed=1"
_MIX: Final = "[2:a]pan=stereo|c0=c0|c1=c0[noise];[1:a][noise]amix=inputs=2:normalize=0[sound]"
#: This much is made; longer recordings repeat it.
_ORIGINAL_SECONDS: Final = 60


@dataclass(frozen=True)
class Cost:
    """What a piece of work took."""

    wall_seconds: float
    #: User and system time of all processes it needed.
    cpu_seconds: float
    #: What of it our own process took, which is nothing where ffmpeg runs bare.
    own_cpu_seconds: float = 0.0
    #: The most memory of all processes together; 0 where it was not looked at.
    peak_bytes: int = 0


def make_video(path: Path, *, seconds: int, title: str = "") -> None:
    """Make an MP4 with H.264 of 64 x 64 pixels and stereo AAC that sounds about as busy as music."""
    original = path.with_suffix(".original.mp4")
    _ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=5", "-f", "lavfi", "-i", _TONES, "-f", "lavfi", "-i", _NOISE),
        *("-filter_complex", _MIX, "-map", "0:v", "-map", "[sound]", "-t", str(min(seconds, _ORIGINAL_SECONDS))),
        *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-b:a", "160k", str(original)),
    )
    tags = ("-metadata", f"title={title}") if title else ()
    _ffmpeg("-stream_loop", "-1", "-i", str(original), "-t", str(seconds), "-c", "copy", *tags, str(path))
    original.unlink()


def make_mp3_video(source: Path, path: Path) -> None:
    """Make of a video one whose sound is an MP3."""
    _ffmpeg("-i", str(source), "-c:v", "copy", "-c:a", "libmp3lame", "-q:a", "2", str(path))


def bare(source: Path, target: Path, strength: Sequence[str] = ("-q:a", "2")) -> Cost:
    """Convert with nothing but ffmpeg, as one would type it."""
    return waited(["ffmpeg", "-y", "-i", str(source), "-vn", *strength, str(target)])


def waited(command: Sequence[str]) -> Cost:
    """Run a command to its end; what it took, with all that it waited for itself."""
    began = time.perf_counter()
    null = subprocess.DEVNULL
    # A session of its own, as ours has: a busy Linux shares its cores out among sessions (sched(7), autogroup).
    process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(wall, used.ru_utime + used.ru_stime)


def _ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *arguments], check=True)
