"""Which audio track is meant, where it was asked for by language."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from functions.common.options import Options
from functions.convert.checking import Failed, Stopped
from functions.convert.ffmpeg import languages_command
from functions.convert.process import Lines, run
from functions.convert.sandbox import Limits

#: Looking at headers takes no longer.
_HEADER_SECONDS: Final = 20.0
_LANGUAGE: Final = re.compile(r"tag:language=([A-Za-z]{2,3})\b")


def numbered(source: Path, options: Options, *, stop: Callable[[], bool]) -> Options:
    """Put the track's number in the place of its language.

    Languages are the same by their meaning: `de`, `deu` and `ger` (ISO 639-1, 639-2/T and 639-2/B).

    Args:
        source: the file, in the private folder that ffmpeg works in.
        options: how to convert.
        stop: asked several times a second.

    Raises:
        Failed: no track says that it is in this language.
        Stopped: `stop` said so.
    """
    if not isinstance(options.track, str):
        return options
    from langcodes import standardize_tag

    wanted = standardize_tag(options.track)
    for number, language in enumerate(_languages(source, stop), 1):
        if language and standardize_tag(language) == wanted:
            return replace(options, track=number)
    raise Failed("no_track")


def _languages(source: Path, stop: Callable[[], bool]) -> list[str]:
    """The language that each audio track declares, empty where it declares none."""
    said: list[str] = []
    ended = run(
        languages_command(source),
        limits=Limits(time.monotonic() + _HEADER_SECONDS),
        stop=lambda: "stopped" if stop() else None,
        out=Lines(said.append).feed,
        said=lambda _text: None,
    )
    if ended.stopped == "stopped":
        raise Stopped
    return [match[1] if (match := _LANGUAGE.search(line)) else "" for line in said if line.startswith("index=")]
