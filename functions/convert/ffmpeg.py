"""The hardened ffmpeg: its command lines.

A stranger's file meets ffmpeg only here. The input is always a local file behind `file:`; protocols, containers and
codecs are whitelisted, so that playlists cannot name other files or hosts and no video decoder is ever opened. Why
each flag stands here is told in docs/media.md.
"""

from pathlib import Path
from typing import Final

from functions.common.options import Options
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
#: What LAME takes, written out, so that a conversion of rate, format and channels comes before samples are counted.
_LAME_SOUND: Final = (
    "aformat=sample_fmts=fltp|s16p|s32p"
    ":sample_rates=44100|48000|32000|22050|24000|16000|11025|12000|8000"
    ":channel_layouts="
)
_LAYOUTS: Final = {None: "stereo|mono", 1: "mono", 2: "stereo"}


def encode_command(source: Path, options: Options, *, first_sample: int = 0) -> Command:
    """The command that writes MP3 frames of the first audio stream to standard output, behind an ID3v2 tag.

    Args:
        source: the file.
        options: how to convert.
        first_sample: the sample of the MP3 to begin with.
    """
    scale = quality(options)
    strength = ["-b:a", f"{options.bitrate}k"] if scale is None else ["-q:a", str(scale)]
    sound = _LAME_SOUND + _LAYOUTS[options.channels] + (f",atrim=start_sample={first_sample}" if first_sample else "")
    window = [*_from(options.start), *_to(options.end)]
    return _frames_command(source, window, ["-af", sound, "-c:a", "libmp3lame", "-reservoir", "0", *strength])


def copy_command(source: Path, end: float | None) -> Command:
    """The command that writes the MP3 frames that the first audio stream consists of, from its beginning on.

    Args:
        source: the file.
        end: seconds into it of which all frames are wanted, some more may come; None for all.
    """
    return _frames_command(source, _to(None if end is None else end + 1), ["-c:a", "copy"])


def _frames_command(source: Path, window: list[str], codec: list[str]) -> Command:
    arguments = (
        *("ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-loglevel", "verbose"),
        *_INPUT_FLAGS,
        *("-vn", "-sn", "-dn"),
        *window,
        *("-i", f"file:{source}"),
        *("-map", "0:a:0"),
        # Ogg keeps its tags on the stream, others on the file; the file's win.
        *("-map_metadata", "0:g", "-map_metadata", "0:s:a:0", "-map_chapters", "-1"),
        *codec,
        *("-id3v2_version", "4", "-write_xing", "0", "-flush_packets", "0", "-f", "mp3", "pipe:1"),
    )
    return Command(source, arguments)


def _from(seconds: float | None) -> list[str]:
    return [] if seconds is None else ["-ss", f"{seconds:.6f}"]


def _to(seconds: float | None) -> list[str]:
    return [] if seconds is None else ["-to", f"{seconds:.6f}"]


def probe_command(source: Path) -> Command:
    """The command that tells what the first audio stream declares of itself."""
    return _probe_command(source, "stream=duration")


def skips_command(source: Path) -> Command:
    """The command that tells, in a line for each packet of the first audio stream, which samples players leave out."""
    return _probe_command(source, "packet=pts:packet_side_data=skip_samples,discard_padding")


def _probe_command(source: Path, entries: str) -> Command:
    """An ffprobe that looks at headers and packets alone.

    To learn more of a stream it would open its decoder, and it fails if one is not on a codec whitelist.
    """
    flags = [flag for flag in _INPUT_FLAGS if flag not in ("-codec_whitelist", _CODECS)]
    arguments = (
        *("ffprobe", "-hide_banner", "-loglevel", "error", "-nofind_stream_info"),
        *flags,
        *("-select_streams", "a:0", "-show_entries", entries, "-of", "compact=print_section=0"),
        f"file:{source}",
    )
    return Command(source, arguments)


def length_command(source: Path) -> Command:
    """The command that reads the first audio stream to its end without decoding it, telling how far it is."""
    arguments = (
        *("ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", "-progress", "pipe:1"),
        *_INPUT_FLAGS,
        *("-vn", "-sn", "-dn", "-i", f"file:{source}", "-map", "0:a:0", "-c", "copy", "-f", "null", "-"),
    )
    return Command(source, arguments)


def quality(options: Options) -> int | None:
    """LAME's VBR scale, None for a constant bit rate."""
    if options.bitrate is not None:
        return None
    return 2 if options.quality is None else options.quality
