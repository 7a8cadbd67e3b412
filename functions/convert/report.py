"""Reading what ffmpeg itself says of a run, so that no further process has to be started for it.

The lines are those of `-loglevel verbose`; their wording is the same from ffmpeg 5 to 9 but for prefixes.
"""

import re
import threading
from collections import Counter
from typing import Final

# Every pattern begins where ffmpeg's own lines begin: a stranger's tags are printed behind four spaces and a name. By a
# name that has several lines a file can say what it likes here, and deceives nobody but its owner.
_PREFIX: Final = r"(?:\[[^\]]{1,80}\] )?"
_DURATION: Final = re.compile(r" {2}Duration: (\d{2,9}):(\d\d):(\d\d(?:\.\d{1,6})?),")
_STREAM: Final = r" {2}Stream #0:(\d{1,5})(?:\[0x[0-9a-f]{1,8}\])?(?:\(\w{1,16}\))?: "
_ANY_STREAM: Final = re.compile(_STREAM)
_AUDIO: Final = re.compile(_STREAM + "Audio: (.*)")
_PICTURE: Final = re.compile(_STREAM + r"Video: .*\(attached pic\)")
_FRONT: Final = re.compile(r" {6}comment *: Cover \(front\)")
_READ: Final = re.compile(
    _PREFIX + r" {2}Input stream #0:\d{1,5} \(audio\): (\d{1,18}) packets read \(\d{1,18} bytes\); "
    r"(\d{1,18}) frames decoded(?:; \d{1,18} decode errors)? \(\d{1,18} samples\)"
)
_ENCODED: Final = re.compile(
    _PREFIX + r" {2}Output stream #0:0 \(audio\): \d{1,18} frames encoded \((\d{1,18}) samples\)"
)
#: The source of a filter graph is made, and with it the graph: ffmpeg makes it anew where the sound's format changes.
_GRAPH: Final = re.compile(
    r"\[(graph[^@\]]{1,60}) @ [^\]]{1,20}\] tb:\d{1,9}/\d{1,9} samplefmt:\w{1,9} samplerate:(\d{1,9}) "
)
_CUT_OFF: Final = re.compile(r"\[[^\]]{1,80}\] .{0,120}(?:File ended prematurely|partial file)")
#: A tag that is kept (functions.convert.tags) of the file, and of a stream.
_TEXT: Final = re.compile(r"( {4}| {6})(title|artist|album|date|comment|track) *: (.*)", re.IGNORECASE)
_OF_FILE: Final = 4 * " "
#: A tag's next line, or the list of chapters.
_MORE: Final = re.compile(r" {20,22}: | {2}Chapters:")
#: Lines of tags are cut off behind so many bytes.
_TOLD_BYTES: Final = 255
#: What ffmpeg shows in the place of what terminals should not be given.
_HIDDEN: Final = "?"
_MP3: Final = re.compile(r"mp3\b")
#: Codec tags of protected audio: Common Encryption (ISO 23001-7) and Apple's FairPlay.
_ENCRYPTED: Final = re.compile(r"\((?:enca|drms) /")


class Report:
    """What is known of a run so far; lines may arrive from another thread.

    Args:
        track: number of the audio track that is converted, from 1 on.
    """

    def __init__(self, track: int = 1) -> None:
        #: Longest stream's length in seconds by the container's word, or None.
        self.declared_seconds: float | None = None
        #: How many audio tracks the file has, and whether ours is an MP3.
        self.tracks = 0
        self.is_mp3 = False
        self.encrypted = False
        #: The file ended where more was to come.
        self.cut_off = False
        #: Packets that were demuxed and frames that were decoded of them, or None before the end.
        self.packets: int | None = None
        self.frames: int | None = None
        #: Tags of the file and of our track that are kept, by their names in small letters; the file's go before.
        self.texts: dict[str, str] = {}
        #: Whether the file has more to say: chapters, or a text that is not told as it is.
        self.has_more = False
        #: Index of the stream that is the cover, or None.
        self.cover: int | None = None
        #: Sample rate of what is decoded, or None before there is anything.
        self.rate_hz: int | None = None
        #: How often the sound's format changed on the way, and the filters began to count anew.
        self.changes = 0
        #: Samples of each channel that went into the encoder, or None before the end.
        self.encoded_samples: int | None = None
        #: Set once all is known that is known before the first frame.
        self.opened = threading.Event()
        self._track = track
        #: Whether what is told now is our track's.
        self._is_ours = False
        #: The picture that came last, and whether one is known to be the front.
        self._picture: int | None = None
        self._front = False
        self._graphs = Counter[str]()

    def read(self, line: str) -> None:
        """Take one line of standard error."""
        if line.startswith("Output #0, mp3, to "):
            self.opened.set()
        elif _CUT_OFF.match(line):
            self.cut_off = True
        elif match := _GRAPH.match(line):
            self._graphs[match[1]] += 1
            self.changes = self._graphs[match[1]] - 1
            self.rate_hz = int(match[2])
        self._read_dump(line)
        self._read_end(line)

    def _read_dump(self, line: str) -> None:
        if self.declared_seconds is None and (match := _DURATION.match(line)):
            hours, minutes, seconds = match.groups()
            self.declared_seconds = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        if self.opened.is_set():
            return
        self._read_picture(line)
        self._read_text(line)
        if match := _AUDIO.match(line):
            self.tracks += 1
            ours = self._is_ours = self.tracks == self._track
            self.is_mp3 = self.is_mp3 or (ours and _MP3.match(match[2]) is not None)
            self.encrypted = self.encrypted or (ours and _ENCRYPTED.search(match[2]) is not None)
        elif _ANY_STREAM.match(line):
            self._is_ours = False

    def _read_text(self, line: str) -> None:
        if _MORE.match(line):
            self.has_more = True
        elif (match := _TEXT.match(line)) and (match[1] == _OF_FILE or self._is_ours):
            self.texts.setdefault(match[2].lower(), match[3])
            self.has_more = self.has_more or _HIDDEN in match[3] or len(match[3].encode()) >= _TOLD_BYTES

    def _read_picture(self, line: str) -> None:
        """The cover is the first picture, or the first one after it that is called the front."""
        if match := _PICTURE.match(line):
            self._picture = int(match[1])
            if self.cover is None:
                self.cover = self._picture
        elif self._picture is not None and not self._front and _FRONT.match(line):
            self.cover, self._front = self._picture, True

    def _read_end(self, line: str) -> None:
        if match := _READ.match(line):
            self.packets, self.frames = int(match[1]), int(match[2])
        elif match := _ENCODED.match(line):
            self.encoded_samples = int(match[1])
