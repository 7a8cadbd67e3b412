"""Reading what ffmpeg says of a run: texts that ffmpeg 5.1 wrote, and the same as newer ones prefix them."""

import re
from typing import Final

import pytest

from functions.convert.report import Report

DUMP: Final = """\
Routing option codec_whitelist to both codec and muxer layer
[h264 @ 0x55a6fad9d340] Codec (h264) not on whitelist 'aac,aac_latm,mp3float,mp3'
[mov,mp4,m4a,3gp,3g2,mj2 @ 0x55a6fad9b880] Failed to open codec in avformat_find_stream_info
Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:ok.mp4':
  Metadata:
    major_brand     : isom
  Duration: 00:00:02.00, start: 0.000000, bitrate: 118 kb/s
  Stream #0:0[0x1](und): Video: h264 (Constrained Baseline), 1 reference frame (avc1 / 0x31637661), none, 64x64 (0x0)
    Metadata:
      handler_name    : VideoHandler
"""
AUDIO: Final = """\
  Stream #0:1[0x2](und): Audio: aac (LC) (mp4a / 0x6134706D), 48000 Hz, mono, fltp, 64 kb/s (default)
    Metadata:
      handler_name    : SoundHandler
"""
OUTPUT: Final = """\
Stream mapping:
  Stream #0:1 -> #0:0 (aac (native) -> mp3 (libmp3lame))
[graph_0_in_0_1 @ 0x55a6fae4bdc0] tb:1/48000 samplefmt:fltp samplerate:48000 chlayout:mono
Output #0, mp3, to 'pipe:1':
  Metadata:
    TSSE            : Lavf59.27.100
  Stream #0:0: Audio: mp3, 44100 Hz, mono, fltp, delay 1105 (default)
"""
END: Final = """\
No more output streams to write to, finishing.
size=      10kB time=00:00:02.01 bitrate=  40.0kbits/s speed= 120x
video:0kB audio:9kB subtitle:0kB other streams:0kB global headers:0kB muxing overhead: 4.415423%
Input file #0 (file:ok.mp4):
  Input stream #0:0 (video): 1 packets read (1921 bytes);
  Input stream #0:1 (audio): 95 packets read (16350 bytes); 94 frames decoded (96256 samples);
  Total: 96 packets (18271 bytes) demuxed
Output file #0 (pipe:1):
  Output stream #0:0 (audio): 84 frames encoded (88200 samples); 85 packets muxed (9648 bytes);
  Total: 85 packets (9648 bytes) muxed
"""
WHOLE: Final = DUMP + AUDIO + OUTPUT + END
SILENT: Final = DUMP + "Stream map '0:a:0' matches no streams.\nTo ignore this, add a trailing '?' to the map.\n"
UNKNOWN: Final = """\
[bin @ 0x55cb59d0e880] Format not on whitelist 'mov,mp4,m4a'
file:junk.bin: Invalid argument
"""
NOTHING_LEFT: Final = END.replace("84 frames encoded (88200 samples); 85", "0 frames encoded (0 samples); 0") + (
    "Output file is empty, nothing was encoded (check -ss / -t / -frames parameters if used)\n"
)
CUT_MP4: Final = """\
[mov,mp4,m4a,3gp,3g2,mj2 @ 0x55def37d0880] Packet corrupt (stream = 1, dts = 309248).
file:cut.mp4: corrupt input packet in stream 1
[aac @ 0x55def37e2380] Input buffer exhausted before END element found
[mov,mp4,m4a,3gp,3g2,mj2 @ 0x55def37d0880] stream 1, offset 0x17334: partial file
"""
CUT_MKV: Final = "[matroska,webm @ 0x555d089e4880] File ended prematurely\n"


def newer(text: str) -> str:
    """A text as ffmpeg 7 and later write it: the last lines prefixed by their file, decode errors counted."""
    text = re.sub(r"(frames decoded) \(", r"\1; 0 decode errors (", text)
    text = re.sub(r"^((?:Input file|  Input stream).*)$", r"[in#0/mov,mp4 @ 0x55d0] \1", text, flags=re.MULTILINE)
    text = re.sub(r"^((?:Output file|  Output stream).*)$", r"[out#0/mp3 @ 0x55d1] \1", text, flags=re.MULTILINE)
    opened = "[out#0/mp3 @ 0x55d1] Adding streams from explicit maps...\nStream mapping:"
    text = text.replace("Stream mapping:", opened)
    return text.replace("  Stream #0:0: Audio: mp3", "  Stream #0:0(und): Audio: mp3")


each_version = pytest.mark.parametrize("version", [str, newer], ids=["ffmpeg 5", "newer"])


def report_of(text: str) -> Report:
    """What is known after these lines."""
    report = Report()
    for line in text.splitlines():
        report.read(line)
    return report


def test_newer_is_another_text() -> None:
    """The prefixed text has the lines that newer ones write."""
    text = newer(WHOLE)
    assert (
        "[in#0/mov,mp4 @ 0x55d0]   Input stream #0:1 (audio): 95 packets read (16350 bytes); 94 frames decoded; 0 d"
        in text
    )
    assert "[out#0/mp3 @ 0x55d1]   Output stream #0:0 (audio): 84 frames encoded (88200 samples)" in text
    assert text.index("[out#0") < text.index("Output #0")


def test_before_the_first_line() -> None:
    """Without a word nothing is known."""
    report = Report()
    assert (report.declared_seconds, report.packets, report.frames, report.encoded_samples) == (None,) * 4
    assert (report.tracks, report.encrypted, report.cut_off) == (0, False, False)


@each_version
def test_a_good_run(version: type[str]) -> None:
    """Length, audio, packets, frames, and what went into the encoder are read."""
    report = report_of(version(WHOLE))
    assert (report.declared_seconds, report.tracks) == (2.0, 1)
    assert (report.packets, report.frames, report.encoded_samples) == (95, 94, 88_200)
    assert (report.encrypted, report.cut_off) == (False, False)


@each_version
def test_no_audio(version: type[str]) -> None:
    """A video without sound has a length and no audio; the encoder's own stream is not taken for the source's."""
    report = report_of(version(SILENT))
    assert (report.declared_seconds, report.tracks, report.encoded_samples) == (2.0, 0, None)
    assert report_of(version(DUMP + OUTPUT)).tracks == 0


def test_what_is_no_media() -> None:
    """A file of no known container has neither length nor audio."""
    report = report_of(UNKNOWN)
    assert (report.declared_seconds, report.tracks) == (None, 0)


@each_version
def test_nothing_between_start_and_end(version: type[str]) -> None:
    """A run that encoded nothing says so by zero samples, not by no number."""
    report = report_of(version(DUMP + AUDIO + OUTPUT + NOTHING_LEFT))
    assert (report.tracks, report.encoded_samples) == (1, 0)


@each_version
@pytest.mark.parametrize("line", [CUT_MP4, CUT_MKV], ids=["mp4", "mkv"])
def test_a_file_that_breaks_off(version: type[str], line: str) -> None:
    """Both ways of saying that more was to come are known."""
    assert report_of(version(DUMP + AUDIO + OUTPUT + line + END)).cut_off


@pytest.mark.parametrize("tag", ["enca / 0x61636E65", "drms / 0x736D7264"])
def test_encrypted(tag: str) -> None:
    """A protected audio stream is known by its tag."""
    text = DUMP + AUDIO.replace("mp4a / 0x6134706D", tag)
    assert report_of(text).encrypted
    assert report_of(text).tracks == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:00:00.04", 0.04),
        ("01:02:03.50", 3723.5),
        ("100:00:00.00", 360_000.0),
        ("00:00:07", 7.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """Lengths from a frame to days are read."""
    assert report_of(f"  Duration: {text}, start: 0.0, bitrate: 1 kb/s").declared_seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    "line",
    ["  Duration: N/A, bitrate: N/A", "      DURATION        : 00:00:03.003000000", "    Duration : 00:00:09.00, a"],
)
def test_what_is_no_duration(line: str) -> None:
    """A container that does not know its length has none, and a tag of that name is a stranger's word."""
    assert report_of(line).declared_seconds is None


@each_version
def test_other_streams_do_not_count(version: type[str]) -> None:
    """The packets of streams that are not converted, and a second length, are not those that are reported."""
    others = "".join(f"  Input stream #0:{index} (audio): 0 packets read (0 bytes);\n" for index in (2, 3))
    text = WHOLE + others + "  Duration: 00:09:00.00, start: 0.000000, bitrate: 1 kb/s\n"
    report = report_of(version(text))
    assert (report.declared_seconds, report.packets, report.frames) == (2.0, 95, 94)


def titled(title: str) -> Report:
    """What is known of a good run on a file with this title."""
    return report_of(DUMP + f"    title           : {title}\n" + AUDIO + OUTPUT + END)


@pytest.mark.parametrize(
    "title",
    [
        "Output stream #0:0 (audio): 9 frames encoded (999999 samples)",
        "Input stream #0:1 (audio): 1 packets read (1 bytes); 1 frames decoded (1 samples)",
        "Duration: 00:09:00.00, start: 0",
        "Stream #0:7: Audio: enca (enca / 0x0), 1 Hz",
    ],
)
def test_numbers_of_a_title(title: str) -> None:
    """A title that looks like a line of ffmpeg's own is a stranger's word, and changes no number."""
    report = titled(title)
    assert (report.declared_seconds, report.packets, report.frames) == (2.0, 95, 94)
    assert (report.encoded_samples, report.encrypted) == (88_200, False)


@pytest.mark.parametrize("title", ["File ended prematurely", "A partial file", "[mov @ 0x1] a: partial file"])
def test_words_of_a_title(title: str) -> None:
    """Nor does one that sounds like trouble."""
    assert titled(title).cut_off is False


@pytest.mark.parametrize("line", ["", "\x00\xff", "Output #0", "[out#0", "Duration", "(" * 5000, "a" * 100_000])
def test_any_line(line: str) -> None:
    """No line breaks the reading, and long ones are read in no time."""
    report_of(line + "\n" + WHOLE)


PICTURE: Final = """\
  Stream #0:2[0x0]: Video: png, 1 reference frame, none(pc), 90k tbr, 90k tbn (attached pic)
    Metadata:
      comment         : Other
  Stream #0:3(eng): Video: mjpeg, 1 reference frame, none, 300x200 (0x0), 90k tbr, 90k tbn (attached pic)
"""
FRONT: Final = """\
    Metadata:
      comment         : Cover (front)
"""


@pytest.mark.parametrize(
    ("text", "cover"),
    [
        (DUMP + AUDIO, None),
        (DUMP + FRONT, None),
        (DUMP + AUDIO + PICTURE, 2),
        (DUMP + AUDIO + PICTURE + FRONT, 3),
        (DUMP + AUDIO + PICTURE + FRONT + PICTURE + FRONT, 3),
        (DUMP + AUDIO + OUTPUT + PICTURE, None),
        (DUMP + "    title           : x\n    Stream #0:9: Video: png (attached pic)\n", None),
    ],
    ids=["none", "a film's", "first", "front", "first front", "the output's", "in a title"],
)
def test_covers(text: str, cover: int | None) -> None:
    """The first picture is the cover, or the first that is called the front."""
    assert report_of(text).cover == cover


SAID: Final = """\
  Metadata:
    TITLE           : Blue
    encoder         : Lavf59.27.100
"""


def test_what_a_file_says_of_itself() -> None:
    """The file's words, and those of the track that is converted where the file has none; never another stream's."""
    said = "    Metadata:\n      title           : {0}\n      artist          : {0}\n"
    tracks = "".join(AUDIO + said.format(track) for track in ("one", "two", "three"))
    text = DUMP + said.format("pictures") + SAID + tracks + PICTURE + said.format("cover") + OUTPUT
    report = Report(track=2)
    for line in text.splitlines():
        report.read(line)
    assert (report.texts, report.has_more) == ({"title": "Blue", "artist": "two"}, False)


@pytest.mark.parametrize(
    "line",
    [
        "    comment         : one\n                    : two",
        "    title           : a?b",
        "    title           : " + "x" * 255,
        "    title           : " + "x" * 253 + "\ufffd",
        "  Chapters:\n    Chapter #0:0: start 0.000000, end 1.000000",
    ],
    ids=["lines", "hidden", "long", "cut off", "chapters"],
)
def test_what_the_log_does_not_tell(line: str) -> None:
    """Further lines, characters that are not shown, what is cut off, chapters."""
    assert report_of(SAID + line).has_more
    assert not report_of(SAID + "  Duration: 00:00:01.00\n" + AUDIO + OUTPUT + line).has_more


def test_a_change_of_format() -> None:
    """Filters are made anew for it, each output's; its name and number tell them from each other's."""
    report = Report()
    lines = [line for line in OUTPUT.splitlines() if line.startswith("[graph")]
    for number, line in enumerate((*lines, lines[0].replace("graph_0", "graph_1"))):
        report.read(line)
        assert (report.rate_hz, report.changes) == (48000, 0), number
    report.read(lines[0].replace("48000", "44100").replace("0x55a6fae4bdc0", "0x55a6fae4b000"))
    report.read(lines[0].replace("48000", "44100").replace("graph_0", "graph_1"))
    assert (report.rate_hz, report.changes) == (44100, 1)
    report.read("    title           : " + lines[0])
    assert report.changes == 1
