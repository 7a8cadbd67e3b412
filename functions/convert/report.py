"""Reading what ffmpeg itself says of a run, so that no further process has to be started for it.

The lines are those of `-loglevel verbose`; their wording is the same from ffmpeg 5 to 9 but for prefixes.
"""

import re
from typing import Final

_DURATION: Final = re.compile(r"\s*Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?),")
_AUDIO: Final = re.compile(r"\s*Stream #0:\d+\S*: Audio: (.*)")
_READ: Final = re.compile(
    r".*Input stream #0:\d+ \(audio\): (\d+) packets read .*?(\d+) frames decoded.*?\((\d+) samples\)"
)
_ENCODED: Final = re.compile(r".*Output stream #0:0 \(audio\): (\d+) frames encoded \((\d+) samples\)")
_RATE: Final = re.compile(r"(\d+) Hz")
#: Codec tags and words of Common Encryption (ISO 23001-7) and of Apple's FairPlay.
_ENCRYPTED: Final = re.compile(r"\((?:enca|drms|p608) /|[Ee]ncrypted|cenc|incorrect decryption|decryption_key")


class Report:
    """What is known of a run so far; lines may arrive from another thread."""

    def __init__(self) -> None:
        #: Longest stream's length in seconds by the container's word, or None.
        self.declared_seconds: float | None = None
        #: Whether the file has an audio stream at all.
        self.has_audio = False
        self.encrypted = False
        #: The file ended where more was to come.
        self.cut_off = False
        self.out_of_space = False
        #: Packets that were demuxed and frames that were decoded of them, or None before the end.
        self.packets: int | None = None
        self.frames: int | None = None
        #: Audio that went into the encoder, in seconds, or None before the end.
        self.encoded_seconds: float | None = None
        self._in_output = False
        self._rate: int | None = None

    def read(self, line: str) -> None:
        """Take one line of standard error."""
        if line.startswith(("Output #0", "[out#0")):
            self._in_output = True
        if "No space left on device" in line:
            self.out_of_space = True
        if "File ended prematurely" in line or "partial file" in line:
            self.cut_off = True
        self._read_dump(line)
        self._read_end(line)

    def _read_dump(self, line: str) -> None:
        if self.declared_seconds is None and (match := _DURATION.match(line)):
            hours, minutes, seconds = match.groups()
            self.declared_seconds = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        if match := _AUDIO.match(line):
            if not self._in_output:
                self.has_audio = True
                self.encrypted = self.encrypted or _ENCRYPTED.search(match[1]) is not None
            elif rate := _RATE.search(match[1]):
                self._rate = int(rate[1])

    def _read_end(self, line: str) -> None:
        if (match := _READ.match(line)) and self.packets is None:
            self.packets, self.frames = int(match[1]), int(match[2])
        if (match := _ENCODED.match(line)) and self._rate:
            self.encoded_seconds = int(match[2]) / self._rate
