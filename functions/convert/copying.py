"""Taking over the frames of a recording whose sound is an MP3 already, so that nothing is lost and little is done.

What players make of the copy is, sample for sample, what ffmpeg makes of the recording, or of the chosen part of it:
the Info frame says which samples at both ends are none of it. functions.convert.encoding calls this where no option
asks for another sound.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from functions.common.options import Options
from functions.convert.ffmpeg import copy_command, skips_command, track_number
from functions.convert.info import DECODER_DELAY, MOST_SAMPLES
from functions.convert.mp3 import Mp3Writer
from functions.convert.mpeg import HEADER_BYTES, Frames, NotMpeg, header, main_data, samples_per_frame, silent_frame
from functions.convert.process import Lines, run
from functions.convert.runs import GrowingRun
from functions.convert.sandbox import Limits
from functions.convert.watch import Watch

#: As far back as a frame may reach.
_RESERVOIR_BYTES: Final = 511


@dataclass(frozen=True)
class Skips:
    """Samples of a recording that players leave out."""

    front: int
    end: int


@dataclass(frozen=True)
class Part:
    """The frames of a recording that make up a part of it, and what is to be heard of them."""

    #: Frames of silence in front of them, where less is to be left out than every decoder leaves out.
    silent: int
    first: int
    after: int
    #: Samples left out in front, beside every decoder's; samples that are heard.
    delay: int
    samples: int


def is_copyable(options: Options) -> bool:
    """Whether the sound may stay as it is."""
    return {options.bitrate, options.quality, options.channels, options.sample_rate, options.loudness} == {None}


def copy(
    source: Path, target: Path, options: Options, *, limits: Limits, watch: Watch, tag: bytes
) -> tuple[GrowingRun, float | None]:
    """Write an MP3 of the frames that are there.

    Args:
        source: the file, in the private folder that ffmpeg works in.
        target: where the MP3 goes, in the same folder.
        options: which part of it.
        limits: what ffmpeg may use.
        watch: follows it.
        tag: the ID3v2 tag in front, may be empty.

    Returns:
        The run that read the frames, and how many seconds are heard; None if ffmpeg was ended, then the run tells why.

    Raises:
        NotMpeg: they can't be taken over as they are.
        OSError: they can't be written.
    """
    frames = GrowingRun(copy_command(source, options), target.with_suffix(".copy"), track=track_number(options))
    with ThreadPoolExecutor(1, "copy") as pool:
        work = partial(frames.work, limits, stop=watch.stop, made=watch.made)
        done = pool.submit(copy_context().run, work)
        skips = read_skips(source, options, limits, watch.stop)
        done.result()
    if frames.ended is not None and frames.ended.stopped is not None:
        return frames, None
    head = frames.header
    if head is None or not frames.is_whole():
        raise NotMpeg("there are no frames")
    part = part_of(frames.made, skips, options, rate_hz=head.rate_hz)
    with Mp3Writer(target, tag=tag) as writer:
        writer.write([silent_frame(head)] * part.silent)
        strengths = {head.bitrate_kbps}
        for piece in _decodable(Frames(frames.frames()), part):
            for begins in {frame[:HEADER_BYTES] for frame in piece}:
                now = header(begins)
                if (now.version, now.rate_hz) != (head.version, head.rate_hz):
                    raise NotMpeg("the sample rate changes")
                strengths.add(now.bitrate_kbps)
            writer.write(piece)
        writer.finish(constant=len(strengths) == 1, quality=None, delay=part.delay, samples=part.samples)
    return frames, part.samples / head.rate_hz


def part_of(frames: int, skips: Skips, options: Options, *, rate_hz: int) -> Part:
    """Find the frames of which a part can be heard.

    Args:
        frames: how many there are.
        skips: what players leave out of the recording.
        options: where the part begins and ends.
        rate_hz: sample rate.

    Raises:
        NotMpeg: there is nothing in it.
    """
    in_one = samples_per_frame(rate_hz)
    end = frames * in_one - skips.end
    if options.end is not None:
        end = min(end, skips.front + round(options.end * rate_hz))
    begin = skips.front + round((options.start or 0) * rate_hz)
    if begin >= end:
        raise NotMpeg("there is nothing between start and end")
    # As many frames before it as can be left out: the first ones may need others for their sound.
    first = max(0, -((MOST_SAMPLES + DECODER_DELAY - begin) // in_one))
    delay = begin - first * in_one - DECODER_DELAY
    silent = max(0, -(delay // in_one))
    return Part(silent, first, -(-end // in_one), delay + silent * in_one, end - begin)


def read_skips(source: Path, options: Options, limits: Limits, stop: Callable[[], str | None]) -> Skips:
    """Ask ffprobe what players leave out in front, by the first packet's word, and at the end, by the last one's."""
    first, last = "", ""

    def line(text: str) -> None:
        nonlocal first, last
        if text:
            first, last = first or text, text

    run(
        skips_command(source, options),
        limits=limits,
        stop=stop,
        out=Lines(line).feed,
        said=lambda _text: None,
    )
    return Skips(_number("skip_samples", first), _number("discard_padding", last))


def _number(name: str, text: str) -> int:
    found = re.search(rf"{name}=(\d{{1,9}})", text)
    return int(found[1]) if found else 0


def _decodable(frames: Frames, part: Part) -> Iterator[list[bytes]]:
    """Pass on the frames of a part, once it is sure that the first ones to be heard find their sound among them.

    Raises:
        NotMpeg: they don't; whatever came before them may be heard for a moment.
    """
    frames.skip(part.first)
    # Of the frames in front that are not to be heard the last one overlaps with the first that is.
    first_heard = part.first + 2 if part.first else 0
    number, before = part.first, 0
    while number < part.after and before < _RESERVOIR_BYTES and (frame := frames.next()) is not None:
        reach, size_bytes = main_data(frame)
        if number >= first_heard and reach > before:
            raise NotMpeg("the sound of the first frames lies in others before them")
        before += size_bytes
        number += 1
        yield [frame]
    yield from frames.take(part.after - number)
