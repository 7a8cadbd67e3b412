"""Other people's ways from a video to an MP3, in a virtual environment of their own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from local.measure.media import Cost, waited
from local.testservers.fleet import cache_folder

#: What is installed.
_PACKAGES: Final = ("moviepy==2.2.1", "pydub==0.25.1")
#: What a tutorial tells people to type.
_WAYS: Final = {
    "moviepy": "from moviepy import VideoFileClip; VideoFileClip({source!r}).audio.write_audiofile({target!r}, "
    "bitrate='128k', logger=None)",
    "pydub": "from pydub import AudioSegment; AudioSegment.from_file({source!r}).export({target!r}, format='mp3', "
    "bitrate='128k')",
}


def python(say: Callable[[str], None]) -> Path:
    """The interpreter that has them; it is made where it is missing."""
    folder = cache_folder() / "peers" / f"{'-'.join(_PACKAGES)}-{sys.version_info.major}.{sys.version_info.minor}"
    found = folder / "bin" / "python"
    if not (folder / "ready").exists():
        say(f"installing {' and '.join(_PACKAGES)}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(found), "-m", "pip", "install", "--quiet", *_PACKAGES], check=True)
        (folder / "ready").touch()
    return found


def cost(interpreter: Path, peer: str, source: Path, target: Path) -> Cost:
    """What a conversion by one of them takes."""
    way = _WAYS[peer].format(source=str(source), target=str(target))
    return waited([str(interpreter), "-c", way])
