"""The hardened ffmpeg: its command lines, and running them so that nothing outlives its limits.

A stranger's file meets ffmpeg only here. The input is always a local file behind `file:`; protocols, containers and
codecs are whitelisted, so that playlists cannot name other files or hosts and no video decoder is ever opened. Why
each flag stands here is told in docs/media.md.
"""

import logging
import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Final

from functions.common.options import Options

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
_MEMORY_BYTES: Final = 1024**3
_LINE_BYTES: Final = 4096
_LOOK_SECONDS: Final = 0.2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one process may use; None stands for no limit."""

    #: By time.monotonic.
    deadline: float | None


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    #: As the shell counts: negative for a signal.
    exit_code: int
    #: What `stop` answered, if that ended it; "timed_out" for the wall clock.
    stopped: str | None


def encode_command(source: Path, options: Options, *, first_sample: int = 0) -> list[str]:
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


def copy_command(source: Path, end: float | None) -> list[str]:
    """The command that writes the MP3 frames that the first audio stream consists of, from its beginning on.

    Args:
        source: the file.
        end: seconds into it of which all frames are wanted, some more may come; None for all.
    """
    return _frames_command(source, _to(None if end is None else end + 1), ["-c:a", "copy"])


def _frames_command(source: Path, window: list[str], codec: list[str]) -> list[str]:
    return [
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
    ]


def _from(seconds: float | None) -> list[str]:
    return [] if seconds is None else ["-ss", f"{seconds:.6f}"]


def _to(seconds: float | None) -> list[str]:
    return [] if seconds is None else ["-to", f"{seconds:.6f}"]


def probe_command(source: Path) -> list[str]:
    """The command that tells what the first audio stream declares of itself."""
    return _probe_command(source, "stream=duration")


def skips_command(source: Path) -> list[str]:
    """The command that tells, in a line for each packet of the first audio stream, which samples players leave out."""
    return _probe_command(source, "packet=pts:packet_side_data=skip_samples,discard_padding")


def _probe_command(source: Path, entries: str) -> list[str]:
    """An ffprobe that looks at headers and packets alone.

    To learn more of a stream it would open its decoder, and it fails if one is not on a codec whitelist.
    """
    flags = [flag for flag in _INPUT_FLAGS if flag not in ("-codec_whitelist", _CODECS)]
    return [
        *("ffprobe", "-hide_banner", "-loglevel", "error", "-nofind_stream_info"),
        *flags,
        *("-select_streams", "a:0", "-show_entries", entries, "-of", "compact=print_section=0"),
        f"file:{source}",
    ]


def length_command(source: Path) -> list[str]:
    """The command that reads the first audio stream to its end without decoding it, telling how far it is."""
    return [
        *("ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", "-progress", "pipe:1"),
        *_INPUT_FLAGS,
        *("-vn", "-sn", "-dn", "-i", f"file:{source}", "-map", "0:a:0", "-c", "copy", "-f", "null", "-"),
    ]


def run(
    command: list[str],
    *,
    folder: Path,
    limits: Limits,
    stop: Callable[[], str | None],
    out: Callable[[bytes], None],
    said: Callable[[str], None],
) -> Ended:
    """Run a hardened command to its end; call from the thread that outlives it.

    Args:
        command: an argv list of this module.
        folder: the private working directory.
        limits: what it may use.
        stop: asked several times a second; a text ends the process group at once.
        out: given standard output, piece by piece.
        said: given each line of standard error, from another thread.
    """
    process = subprocess.Popen(
        [*_guards(limits), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=_environment(folder),
        start_new_session=True,
    )
    reader = threading.Thread(target=_drain, args=(process.stderr, said), daemon=True)
    reader.start()
    try:
        stopped = _follow(process, limits.deadline, stop, out)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join()
        _close(process)
    return Ended(process.returncode, stopped)


def _follow(
    process: subprocess.Popen[bytes],
    deadline: float | None,
    stop: Callable[[], str | None],
    out: Callable[[bytes], None],
) -> str | None:
    """Read standard output until the process ends or has to; return why it has to."""
    stdout = process.stdout
    assert stdout is not None  # noqa: S101 - it is a pipe
    os.set_blocking(stdout.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            if selector.select(_LOOK_SECONDS):
                chunk = stdout.read(65536)
                if chunk == b"":
                    process.wait(None if deadline is None else max(1.0, deadline - time.monotonic()))
                    return None
                if chunk:
                    out(chunk)
            reason = stop()
            if reason is not None:
                return reason
            if deadline is not None and time.monotonic() > deadline:
                return "timed_out"


class Lines:
    """Puts pieces of text together to lines.

    Args:
        line: given each.
    """

    def __init__(self, line: Callable[[str], None]) -> None:
        self._line = line
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_LINE_BYTES:]
        for text in lines:
            self._line(text.decode(errors="replace"))


def _drain(stream: IO[bytes] | None, said: Callable[[str], None]) -> None:
    """Pass on each line; one that is longer than any of ffmpeg's own is a stranger's words, and is dropped."""
    whole = True
    while stream is not None and (chunk := stream.readline(_LINE_BYTES)):
        ends = chunk.endswith(b"\n")
        if whole and ends:
            said(chunk.decode(errors="replace").rstrip())
        whole = ends


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _guards(limits: Limits) -> list[str]:
    """What stands before a command: death with the parent, and resource limits, where the platform has them."""
    guards = []
    tools = _tools()
    if "setpriv" in tools:
        guards += ["setpriv", "--pdeathsig", "KILL", "--"]
    if "prlimit" in tools:
        # It writes to pipes alone, never to a file.
        guards += ["prlimit", f"--as={_MEMORY_BYTES}", "--nofile=64", "--core=0", "--fsize=0"]
        if limits.deadline is not None:
            # More CPU time than wall-clock time on all cores together is a loop.
            # The soft limit's signal can be told from others, the hard one's cannot.
            most = int((limits.deadline - time.monotonic()) * (os.cpu_count() or 1)) + 10
            guards.append(f"--cpu={most}:{most + 5}")
        guards.append("--")
    return guards


@cache
def _tools() -> frozenset[str]:
    found = frozenset(tool for tool in ("setpriv", "prlimit") if shutil.which(tool))
    for tool in {"setpriv", "prlimit"} - found:
        _log.warning("%s is not on this machine: ffmpeg runs without the limits it sets", tool)
    return found


def _environment(folder: Path) -> Mapping[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": str(folder), "TMPDIR": str(folder)}


def quality(options: Options) -> int | None:
    """LAME's VBR scale, None for a constant bit rate."""
    if options.bitrate is not None:
        return None
    return 2 if options.quality is None else options.quality
