"""The hardened ffmpeg: its command lines.

A stranger's file meets ffmpeg only here. The input is always a local file behind `file:`; protocols, containers and
codecs are whitelisted, so that playlists cannot name other files or hosts and no video decoder is ever opened. Why
each flag stands here is told in docs/media.md.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from functions.common.options import Options
from functions.convert.level import Level
from functions.convert.process import Command

_CONTAINERS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,mpegvideo,ogg,asf,mxf,"
    "mp3,wav,w64,flac,aac,aiff,au,caf,amr,ac3,eac3,tta,wv"
)
_CODECS: Final = (
    "aac,aac_latm,mp3float,mp3,mp2float,mp2,mp1float,ac3,eac3,opus,libopus,vorbis,flac,alac,tta,wavpack,"
    "wmav1,wmav2,wmapro,amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,adpcm_ima_wav,adpcm_ms,adpcm_ima_qt,"
    "pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,"
    "pcm_alaw,pcm_mulaw,pcm_bluray,pcm_dvd"
)
_INPUT_FLAGS: Final = (
    *("-max_alloc", str(256 * 1024 * 1024)),
    *("-protocol_whitelist", "file"),
    *("-format_whitelist", _CONTAINERS),
    *("-codec_whitelist", _CODECS),
    *("-probesize", "10M", "-analyzeduration", "10M"),
    *("-max_pixels", "33554432"),
)
_NOTHING_ELSE: Final = ("-map_metadata", "-1", "-map_chapters", "-1")
#: So many samples at a time: each piece costs on its way, and the pieces that decoders make are small. Whole frames.
_BATCHES: Final = f"asetnsamples=n={16 * 1152}:pad=false"
#: What LAME takes, the best first: ffmpeg takes the first of those that are equally near.
_RATES_HZ: Final = "44100|48000|32000|22050|24000|16000|11025|12000|8000"
_LAYOUTS: Final = {None: "stereo|mono", 1: "mono", 2: "stereo"}


def encode_command(
    source: Path,
    options: Options,
    *,
    first_sample: int = 0,
    resampled: bool = True,
    steady: bool = True,
    level: Level | None = None,
) -> Command:
    """The command that writes MP3 frames of the audio stream to standard output, and what they are made of aside.

    That is the mean of the channels, as this machine's 16-bit integers.

    Args:
        source: the file.
        options: how to convert; the track by its number.
        first_sample: the sample of the MP3 to begin with.
        resampled: False if the recording is known to have the MP3's sample rate.
        steady: False if the sound changes its format on the way; else so much as a batch of it is lost there.
        level: how the sound's level is changed.
    """
    scale = quality(options)
    strength = ["-b:a", f"{options.bitrate}k"] if scale is None else ["-q:a", str(scale)]
    codec = ["-c:a", "libmp3lame", "-reservoir", "0", *strength]
    begin = [f"atrim=start_sample={first_sample}"] if first_sample else []
    sound = _sound(options)
    if level is None:
        # They part before anything is changed: a filter that both hung on would choose another rate for one of them.
        # What a sample becomes depends on others only where the rate changes; else what is left out need not be made.
        early, late = ([], begin) if resampled else (begin, [])
        both = [*early, *([_BATCHES] if steady else [])]
        frames, samples = [sound, *late], [_sound(replace(options, channels=1), formats="s16"), *late]
    else:
        both = [sound, level.filters(), "aformat=sample_fmts=fltp"]
        # A filter that changes the format alone would be free to change the rate, too.
        fixed = replace(options, channels=1, sample_rate=level.rate_hz)
        frames, samples = ["anull", *begin], [_sound(fixed, formats="s16"), *begin]
    chains = (
        f"[0:{_stream(options)}]{','.join([*both, 'asplit'])}[a][b]",
        f"[a]{','.join(frames)}[frames]",
        f"[b]{','.join(samples)}[samples]",
    )
    encoded = ["-filter_complex", ";".join(chains), "-map", "[frames]"]
    form = "s16le" if sys.byteorder == "little" else "s16be"
    raw = ["-map", "[samples]", *_NOTHING_ELSE, "-c:a", f"pcm_{form}", "-flush_packets", "0", "-f", form]
    return Command(source, (*_frames_command(source, _window(options), encoded, codec), *raw), aside=True)


def measure_command(source: Path, options: Options) -> Command:
    """The command that tells, at its end, how loud the sound is, and how high it peaks; and how far it is meanwhile."""
    arguments = (
        *("ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-loglevel", "info", "-progress", "pipe:1"),
        *_INPUT_FLAGS,
        *("-vn", "-sn", "-dn", *_window(options), "-i", f"file:{source}", "-map", f"0:{_stream(options)}"),
        *_NOTHING_ELSE,
        *("-af", f"{_sound(options)},ebur128=peak=true:framelog=verbose", "-f", "null", "-"),
    )
    return Command(source, arguments)


def _sound(options: Options, formats: str = "fltp|s16p|s32p") -> str:
    """The filter that makes of a recording's sound what LAME takes, or the same in other sample formats.

    Written out, so that a conversion of rate, format and channels comes before samples are counted, and not before
    filters in front: ffmpeg would put it there as soon as there is one of its own.
    """
    # Mixing floats down, ffmpeg would add two channels up to more than either; integers it never lets exceed theirs.
    mixed = "=rematrix_maxval=1" if options.channels == 1 else ""
    return (
        f"aresample{mixed},aformat=sample_fmts={formats}:sample_rates={options.sample_rate or _RATES_HZ}"
        f":channel_layouts={_LAYOUTS[options.channels]}"
    )


def _window(options: Options) -> list[str]:
    return [*_from(options.start), *_to(options.end)]


def copy_command(source: Path, options: Options) -> Command:
    """The command that writes the MP3 frames that the audio stream consists of.

    They are those from its beginning on, up to the chosen end and some more.
    """
    window = _to(None if options.end is None else options.end + 1)
    return Command(source, _frames_command(source, window, ["-map", f"0:{_stream(options)}"], ["-c:a", "copy"]))


def _frames_command(source: Path, window: list[str], stream: list[str], codec: list[str]) -> tuple[str, ...]:
    return (
        *("ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-loglevel", "verbose"),
        *_INPUT_FLAGS,
        *("-vn", "-sn", "-dn"),
        *window,
        *("-i", f"file:{source}"),
        *stream,
        *_NOTHING_ELSE,
        *codec,
        *("-id3v2_version", "0", "-write_xing", "0", "-flush_packets", "0", "-f", "mp3", "pipe:1"),
    )


def _from(seconds: float | None) -> list[str]:
    return [] if seconds is None else ["-ss", f"{seconds:.6f}"]


def _to(seconds: float | None) -> list[str]:
    return [] if seconds is None else ["-to", f"{seconds:.6f}"]


def track_number(options: Options) -> int:
    """Number of the audio track, from 1 on; a language has become one (functions.convert.tracks)."""
    return int(options.track or 1)


def _stream(options: Options) -> str:
    return f"a:{track_number(options) - 1}"


def probe_command(source: Path, options: Options) -> Command:
    """The command that tells what the audio stream declares of itself."""
    return _probe_command(source, _stream(options), "stream=duration")


def skips_command(source: Path, options: Options) -> Command:
    """The command that tells, in a line for each packet of the audio stream, which samples players leave out."""
    return _probe_command(source, _stream(options), "packet=pts:packet_side_data=skip_samples,discard_padding")


def known_command(source: Path, options: Options) -> Command:
    """The command that tells, as JSON, the tags of the file and of the audio stream, and the chapters."""
    entries = "format_tags:stream_tags:chapter=start_time,end_time:chapter_tags=title"
    return _probe_command(source, _stream(options), entries, form="json")


def cover_command(source: Path, stream: int) -> Command:
    """The command that copies a picture to standard output, without a look into it.

    Args:
        source: the file.
        stream: index of the stream that it is.
    """
    arguments = (
        *("ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-loglevel", "error"),
        *_INPUT_FLAGS,
        *("-an", "-sn", "-dn", "-i", f"file:{source}", "-map", f"0:{stream}"),
        *("-frames:v", "1", "-c", "copy", "-f", "image2pipe", "pipe:1"),
    )
    return Command(source, arguments)


def languages_command(source: Path) -> Command:
    """The command that tells, in a line for each audio stream, its language."""
    return _probe_command(source, "a", "stream=index:stream_tags=language")


def _probe_command(source: Path, streams: str, entries: str, *, form: str = "compact=print_section=0") -> Command:
    """An ffprobe that looks at headers and packets alone.

    To learn more of a stream it would open its decoder, and it fails if one is not on a codec whitelist.
    """
    flags = [flag for flag in _INPUT_FLAGS if flag not in ("-codec_whitelist", _CODECS)]
    arguments = (
        *("ffprobe", "-hide_banner", "-loglevel", "error", "-nofind_stream_info"),
        *flags,
        *("-select_streams", streams, "-show_entries", entries, "-of", form),
        f"file:{source}",
    )
    return Command(source, arguments)


def length_command(source: Path, options: Options) -> Command:
    """The command that reads the audio stream to its end without decoding it, telling how far it is."""
    arguments = (
        *("ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", "-progress", "pipe:1"),
        *_INPUT_FLAGS,
        *("-vn", "-sn", "-dn", "-i", f"file:{source}", "-map", f"0:{_stream(options)}"),
        *("-c", "copy", "-f", "null", "-"),
    )
    return Command(source, arguments)


def told_seconds(line: str) -> float | None:
    """How far ffmpeg is, by a line that -progress writes; None if it is about something else."""
    name, _, value = line.partition("=")
    return int(value) / 1_000_000 if name == "out_time_us" and value.lstrip("-").isdigit() else None


def quality(options: Options) -> int | None:
    """LAME's VBR scale, None for a constant bit rate."""
    if options.bitrate is not None:
        return None
    return 2 if options.quality is None else options.quality
