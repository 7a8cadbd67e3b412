"""What is uploaded: a folder of recordings, or a mix of lengths and codecs that ffmpeg makes by a seed."""

import random
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final

#: Codecs and containers that people have, with the arguments that make them; sound that no encoder gets for nothing.
_KINDS: Final[dict[str, tuple[str, ...]]] = {
    "mp4": ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-b:a", "128k"),
    "mkv": ("-c:v", "mpeg4", "-c:a", "flac"),
    "avi": ("-c:v", "mpeg4", "-c:a", "libmp3lame", "-b:a", "128k"),
    "mov": ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "pcm_s16le"),
    "ogg": ("-vn", "-c:a", "libvorbis", "-q:a", "4"),
    "m4a": ("-vn", "-c:a", "aac", "-b:a", "128k"),
}
_PICTURE: Final = "testsrc2=size=64x64:rate=5"
_SOUND: Final = (
    "aevalsrc='0.25*sin(2*PI*({pitch}+110*sin(t/3))*t)+0.15*sin(2*PI*587*t)*gt(mod(t,0.5),0.25)"
    "|0.25*sin(2*PI*330*t)*(0.6+0.4*sin(5*t))':s=44100"
)
#: Different files of one mix.
_MOST_CLIPS: Final = 6


class NoMedia(ValueError):
    """There is nothing to upload."""


@dataclass(frozen=True)
class Clip:
    """A recording that jobs upload."""

    path: Path
    #: Of its sound.
    duration_seconds: float
    size_bytes: int
    #: Lower-case hex of the SHA-256 of the file.
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """As the report has it, by its name alone."""
        return {**asdict(self), "path": self.path.name}


@dataclass(frozen=True)
class Lengths:
    """From how many to how many seconds the clips of a mix last."""

    least_seconds: float
    most_seconds: float


def parse_lengths(text: str) -> Lengths:
    """Read `2`, or `1-30`.

    Raises:
        NoMedia: it is neither.
    """
    least, _, most = text.partition("-")
    try:
        found = Lengths(float(least), float(most or least))
    except ValueError as error:
        raise NoMedia(f"{text} is no length: say seconds, or from-to") from error
    if not 0.1 <= found.least_seconds <= found.most_seconds <= 7200:
        raise NoMedia(f"{text} is no length: from 0.1 to 7200 seconds")
    return found


def make_mix(folder: Path, lengths: Lengths, *, seed: int, say: Callable[[str], None]) -> list[Clip]:
    """Make a few short recordings of different kinds.

    Args:
        folder: where they go; made where it does not exist.
        lengths: how long they are; those between are drawn.
        seed: of the lengths and the sounds.
        say: told what is going on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(f"media {seed}")  # noqa: S311 - a test's files, no secret
    clips = []
    for number, (ending, arguments) in enumerate(list(_KINDS.items())[:_MOST_CLIPS]):
        seconds = round(chance.uniform(lengths.least_seconds, lengths.most_seconds), 1)
        path = folder / f"clip{number}.{ending}"
        say(f"making {path.name}, {seconds:g} s")
        sound = ("-f", "lavfi", "-i", _SOUND.format(pitch=chance.randrange(150, 400)))
        picture = () if "-vn" in arguments else ("-f", "lavfi", "-i", _PICTURE)
        command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *sound, *picture, "-t", str(seconds), *arguments]
        subprocess.run([*command, str(path)], check=True)
        clips.append(_clip(path))
    return clips


def find(folder: Path) -> list[Clip]:
    """The recordings of a folder that ffprobe finds sound in.

    Raises:
        NoMedia: there is none.
    """
    clips = []
    for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        try:
            clips.append(_clip(path))
        except ValueError:
            continue
    if not clips:
        raise NoMedia(f"{folder} holds no recording with sound")
    return clips


def _clip(path: Path) -> Clip:
    seconds = _sound_seconds(path)
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    return Clip(path, seconds, path.stat().st_size, digest)


def _sound_seconds(path: Path) -> float:
    """How long the first sound stream is; where the container does not say, how long the whole is.

    Raises:
        ValueError: there is no sound, or nobody knows its length.
    """
    found = _probe(path, ("-select_streams", "a:0", "-show_entries", "stream=duration"))
    if found == "N/A":
        found = _probe(path, ("-show_entries", "format=duration"))
    return float(found)


def _probe(path: Path, entries: Sequence[str]) -> str:
    command = ["ffprobe", "-v", "error", *entries, "-of", "csv=p=0", f"file:{path}"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return said.partition("\n")[0].strip().rstrip(",")
