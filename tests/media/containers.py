"""Sound uploads: every container, codec and layout that must come out as an MP3 of the right length."""

import tempfile
from functools import partial
from pathlib import Path

from tests.media.encode import AAC, H264, clip, encode, picture, sound
from tests.media.sample import SUCCEEDED, Sample, sample

#: Two seconds of pictures and sound, for arguments that follow the inputs.
INPUTS = (*picture(), *sound())
#: MPEG-1, MPEG-2 and MXF know a few picture rates only, and five a second is none of them.
INPUTS_25 = (*picture(rate=25), *sound())
MPEG4 = ("-c:v", "mpeg4")

#: Name of the upload to ffmpeg's arguments. Pictures differ only as the containers demand.
PAIRS: dict[str, tuple[str, ...]] = {
    "opus.mkv": (*INPUTS, *H264, "-c:a", "libopus"),
    "flac.mkv": (*INPUTS, *H264, "-c:a", "flac"),
    "vorbis.webm": (*INPUTS, "-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libvorbis"),
    "opus.webm": (*INPUTS, "-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"),
    "mp3.avi": (*INPUTS, *MPEG4, "-c:a", "libmp3lame"),
    "pcm.avi": (*INPUTS, *MPEG4, "-c:a", "pcm_s16le"),
    "mp3.flv": (*INPUTS, "-c:v", "flv", "-c:a", "libmp3lame", "-ar", "44100"),
    "aac.flv": (*INPUTS, *H264, *AAC),
    "aac.ts": (*INPUTS, *H264, *AAC),
    "latm.ts": (*INPUTS, *H264, *AAC, "-mpegts_flags", "+latm"),
    "eac3.ts": (*INPUTS, *H264, "-c:a", "eac3"),
    "alac.mov": (*INPUTS, *MPEG4, "-c:a", "alac"),
    "pcm.mov": (*INPUTS, *MPEG4, "-c:a", "pcm_s24be"),
    "opus.mp4": (*INPUTS, *H264, "-c:a", "libopus"),
    "aac.3gp": (*INPUTS, *MPEG4, *AAC),
    "vorbis.ogv": (*INPUTS, "-c:v", "libtheora", "-c:a", "libvorbis"),
    "wmav1.wmv": (*INPUTS, "-c:v", "wmv1", "-c:a", "wmav1"),
    "wmav2.wmv": (*INPUTS, "-c:v", "wmv2", "-c:a", "wmav2"),
    "mp2.mpg": (*INPUTS_25, "-c:v", "mpeg1video", "-c:a", "mp2"),
    "ac3.mts": (*INPUTS, *H264, "-c:a", "ac3", "-f", "mpegts", "-mpegts_m2ts_mode", "1"),
    "pcm.mxf": (*INPUTS_25, "-c:v", "mpeg2video", "-c:a", "pcm_s16le"),
}

#: The same for what varies inside one container.
LAYOUTS: dict[str, tuple[str, ...]] = {
    "moov_last.mp4": (*INPUTS, *H264, *AAC),
    "faststart.mp4": (*INPUTS, *H264, *AAC, "-movflags", "+faststart"),
    "fragmented.mp4": (*INPUTS, *H264, *AAC, "-movflags", "+frag_keyframe+empty_moov+default_base_moof"),
    "audio_only.mp4": (*sound(), *AAC),
    "audio_only.mka": (*sound(), "-c:a", "libopus"),
    "surround_5_1.mp4": (*INPUTS, *H264, *AAC, "-ac", "6"),
    "surround_7_1.mp4": (*INPUTS, *H264, *AAC, "-ac", "8"),
    "surround_7_1.mkv": (*INPUTS, *H264, "-c:a", "flac", "-ac", "8"),
    "rate_8_khz.mp4": (*INPUTS, *H264, *AAC, "-ar", "8000"),
    "rate_192_khz.mov": (*INPUTS, *MPEG4, "-c:a", "pcm_s24le", "-ar", "192000"),
    # Frames 0, 1, 4, 9, ... of a fifth of a tenth: no two gaps alike.
    "variable_frame_rate.mkv": (*INPUTS, "-vf", "setpts=N*N/50/TB", "-vsync", "vfr", *H264, *AAC),
    # The first track is the one that is converted; the second is longer, so a mix-up shows.
    "two_tracks.mp4": (
        *(*picture(), *sound(), *sound(3, frequency_hz=880)),
        *("-map", "0:v", "-map", "1:a", "-map", "2:a", *H264, *AAC),
    ),
    # Pictures first, sound a second later, as many cameras do.
    "late_audio.mp4": (*picture(3), "-itsoffset", "1", *sound(), *H264, *AAC),
}

SUBTITLES = b"1\n00:00:00,000 --> 00:00:01,500\n<b>Hello</b> <script>alert(1)</script>\n\n"

CHAPTERS = """;FFMETADATA1
[CHAPTER]
TIMEBASE=1/1000
START=0
END=1000
title=<script>alert(1)</script>
[CHAPTER]
TIMEBASE=1/1000
START=1000
END=2000
title="><img src=x onerror=alert(2)> &amp; ' \\# 100%
"""

AMR_NB_FRAME_BYTES = 32
AMR_WB_FRAME_BYTES = 61


def with_subtitles(path: Path, codec: str) -> Path:
    """Write a clip with a subtitle track of the given codec."""
    return _with_text(path, "words.srt", SUBTITLES, "-map", "2", "-c:s", codec)


def with_chapters(path: Path) -> Path:
    """Write a clip whose chapter titles hold HTML."""
    return _with_text(path, "chapters.txt", CHAPTERS.encode(), "-map_chapters", "2")


def _with_text(path: Path, name: str, content: bytes, *arguments: str) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, name)
        text.write_bytes(content)
        mapped = ("-i", str(text), "-map", "0", "-map", "1")
        return encode(path, *INPUTS, *mapped, *H264, *AAC, *arguments)


def amr(path: Path, magic: bytes, header: int, frame_bytes: int) -> Path:
    """Write a 3GP with two seconds of AMR noise; no encoder is needed, as any bits make a valid frame."""
    frame = bytes([header]) + bytes(range(1, frame_bytes))
    with tempfile.TemporaryDirectory() as folder:
        speech = Path(folder, "speech.amr")
        speech.write_bytes(magic + frame * 100)  # 20 ms each
        arguments = (*picture(), "-i", str(speech), "-map", "0", "-map", "1", *MPEG4, "-c:a", "copy")
        return encode(path, *arguments, "-f", "3gp")


def many_tracks(path: Path, count: int = 300) -> Path:
    """Write an MP4 with `count` audio tracks of the same two seconds."""
    with tempfile.TemporaryDirectory() as folder:
        one = encode(Path(folder, "one.mp4"), *sound(), *AAC)
        return encode(path, "-i", one, *["-map", "0:a"] * count, "-c", "copy")


def _pair(name: str, arguments: tuple[str, ...]) -> Sample:
    def build(path: Path) -> Path:
        return encode(path, *arguments)

    return sample(name, build, SUCCEEDED, seconds=2.0)


CONTAINERS: tuple[Sample, ...] = (
    *(_pair(name, arguments) for name, arguments in (PAIRS | LAYOUTS).items()),
    sample(
        "amr_nb.3gp",
        partial(amr, magic=b"#!AMR\n", header=0x3C, frame_bytes=AMR_NB_FRAME_BYTES),
        SUCCEEDED,
        seconds=2.0,
    ),
    sample(
        "amr_wb.3gp",
        partial(amr, magic=b"#!AMR-WB\n", header=0x44, frame_bytes=AMR_WB_FRAME_BYTES),
        SUCCEEDED,
        seconds=2.0,
    ),
    sample("subtitles.mp4", partial(with_subtitles, codec="mov_text"), SUCCEEDED, seconds=2.0),
    sample("subtitles.mkv", partial(with_subtitles, codec="ass"), SUCCEEDED, seconds=2.0),
    sample("chapters.mp4", with_chapters, SUCCEEDED, seconds=2.0),
    sample("chapters.mkv", with_chapters, SUCCEEDED, seconds=2.0),
    sample("tracks_300.mp4", many_tracks, SUCCEEDED, seconds=2.0),
    # The name is no promise: an MP4 that says it is text, a song, a Matroska, and one that says nothing.
    sample("wrong_extension.txt", clip, SUCCEEDED, seconds=2.0),
    sample("wrong_extension.mp3", clip, SUCCEEDED, seconds=2.0),
    sample("wrong_extension.m3u8", clip, SUCCEEDED, seconds=2.0),
    sample("wrong_extension.mkv", clip, SUCCEEDED, seconds=2.0),
    sample("wrong_extension.mp4", partial(clip, muxer="matroska"), SUCCEEDED, seconds=2.0),
    sample("no_extension", clip, SUCCEEDED, seconds=2.0),
)
