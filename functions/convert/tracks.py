"""Which audio track is meant, where it was asked for by language."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from functions.common.options import MOST_TRACKS, Options
from functions.convert.asking import lines
from functions.convert.ffmpeg import languages_command

_LANGUAGE: Final = re.compile(r"tag:language=([A-Za-z]{2,3})\b")


def numbered(source: Path, options: Options, *, stop: Callable[[], bool]) -> Options:
    """Put the track's number in the place of its language.

    Languages are the same by their meaning: `de`, `deu` and `ger` (ISO 639-1, 639-2/T and 639-2/B).

    Args:
        source: the file, in the private folder that ffmpeg works in.
        options: how to convert.
        stop: asked several times a second.

    Raises:
        Stopped: `stop` said so.
        Unavailable: ffprobe could not be started.
    """
    if not isinstance(options.track, str):
        return options
    from langcodes import standardize_tag

    wanted = standardize_tag(options.track)
    found = (
        number
        for number, language in enumerate(_languages(source, stop), 1)
        if language and standardize_tag(language) == wanted
    )
    # Beyond the last one ffmpeg finds out whether there is no such track, no sound at all, or nothing that it can read.
    return replace(options, track=next(found, MOST_TRACKS))


def _languages(source: Path, stop: Callable[[], bool]) -> list[str]:
    """The language that each audio track declares, empty where it declares none."""
    said = lines(languages_command(source), stop=stop)
    return [match[1] if (match := _LANGUAGE.search(line)) else "" for line in said if line.startswith("index=")]
