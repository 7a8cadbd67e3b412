"""What a person may ask of a conversion: declared and checked here, for the API, the command line and the bridge."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from typing import Any, Final

from functions.common.errors import Invalid

#: Constant bitrates of MPEG-1 Layer III that are worth offering, in kbit/s (ISO 11172-3, table of bit rates).
BITRATES_KBPS: Final = (64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
#: All that MP3 has (ISO 11172-3, ISO 13818-3, and the customary MPEG-2.5).
SAMPLE_RATES_HZ: Final = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
#: The highest number of a track.
MOST_TRACKS: Final = 999
#: How loud speech and music on the web are, by EBU R128, and the limits of what can be asked for: above, nothing but a
#: roar is left of most recordings.
CUSTOMARY_LUFS: Final = -16.0
QUIETEST_LUFS: Final = -30.0
LOUDEST_LUFS: Final = -10.0
_OPTION: Final = "option"


@dataclass(frozen=True)
class Option:
    """How one option is told to people, and how it is read."""

    name: str
    #: What it does.
    help: str
    #: What it may be: the end of "NAME must be ...".
    takes: str
    #: What holds where it is not given.
    default: str
    #: Makes a value of a text, None for the default; raises ValueError for a text that is wrong.
    read: Callable[[str], Any]


def _declared(read: Callable[[str], Any], help_: str, takes: str, default: str) -> Any:
    return field(default=None, metadata={_OPTION: (help_, takes, default, read)})


def _number(values: Iterable[int], *, prefix: str = "", suffix: str = "", default: str = "") -> Callable[[str], Any]:
    known: dict[str, int | None] = {str(value): value for value in values}
    if default:
        known[default] = None

    def read(text: str) -> int | None:
        for spelled in (text, text.upper().removeprefix(prefix), text.removesuffix(suffix)):
            if spelled in known:
                return known[spelled]
        raise ValueError(text)

    return read


def _seconds(text: str) -> float:
    seconds = float(text)
    if not isfinite(seconds) or not 0 <= seconds < 10**7:
        raise ValueError(text)
    return seconds


def _track(text: str) -> int | str:
    if re.fullmatch("[A-Za-z]{2,3}", text):
        return text.lower()
    number: int = _number(range(1, MOST_TRACKS + 1))(text)
    return number


def _lufs(text: str) -> float | None:
    if text.lower() in ("yes", "no"):
        return CUSTOMARY_LUFS if text.lower() == "yes" else None
    lufs = float(text)
    if not QUIETEST_LUFS <= lufs <= LOUDEST_LUFS:
        raise ValueError(text)
    return lufs


def _kept(text: str) -> bool | None:
    return {"yes": None, "no": False}[text.lower()]


def _listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, values))


@dataclass(frozen=True)
class Options:
    """How to convert; what is None is left to the default."""

    #: In kbit/s; excludes `quality`.
    bitrate: int | None = _declared(
        _number(BITRATES_KBPS, suffix="k"),
        "Constant bitrate; excludes `quality`.",
        f"one of {_listed(BITRATES_KBPS)} (kbit/s)",
        "a variable bitrate",
    )
    #: LAME's VBR scale.
    quality: int | None = _declared(
        _number(range(10), prefix="V"),
        "Variable bitrate, as good as this says.",
        "0 (best) to 9 (smallest)",
        "2",
    )
    channels: int | None = _declared(
        _number((1, 2), default="source"),
        "Mono or stereo.",
        "1, 2 or source",
        "as the recording has, at most 2",
    )
    #: In Hz.
    sample_rate: int | None = _declared(
        _number(SAMPLE_RATES_HZ, default="source"),
        "Samples of each channel in a second.",
        f"one of {_listed(SAMPLE_RATES_HZ)} (Hz), or source",
        "as the recording has, or the nearest one",
    )
    #: Seconds into the source.
    start: float | None = _declared(
        _seconds,
        "Second of the recording to begin at; fractions are fine.",
        "a number of seconds, 0 or more",
        "the beginning",
    )
    #: Seconds into the source.
    end: float | None = _declared(
        _seconds,
        "Second of the recording to end at, after `start`.",
        "a number of seconds, 0 or more",
        "the end",
    )
    #: Number of the audio track, from 1 on, or its language as the recording spells it (ISO 639).
    track: int | str | None = _declared(
        _track,
        "Which audio track, where there are several.",
        "its number, 1 or more, or its language, such as de or eng",
        "the first",
    )
    #: In LUFS.
    loudness: float | None = _declared(
        _lufs,
        "How loud it becomes on the whole (EBU R128); takes about three times as long.",
        f"yes ({CUSTOMARY_LUFS:.0f} LUFS), no, or LUFS from {QUIETEST_LUFS:.0f} to {LOUDEST_LUFS:.0f}",
        "as loud as the recording",
    )
    #: False for none.
    tags: bool | None = _declared(
        _kept,
        "Whether title, artist, album, date, comment and track number come along.",
        "yes or no",
        "yes",
    )
    #: False for none.
    cover: bool | None = _declared(_kept, "Whether the cover picture comes along.", "yes or no", "yes")
    #: False for none.
    chapters: bool | None = _declared(_kept, "Whether the chapters come along.", "yes or no", "yes")

    def as_dict(self) -> dict[str, int | float | str]:
        """The options that were given."""
        return {name: value for name, value in asdict(self).items() if value is not None}


OPTIONS: Final = tuple(Option(each.name, *each.metadata[_OPTION]) for each in fields(Options))
NAMES: Final = tuple(option.name for option in OPTIONS)


def parse(texts: Mapping[str, str]) -> Options:
    """Read options as forms, queries and command lines spell them; other names in the mapping are not looked at.

    Raises:
        Invalid: a value is wrong or two exclude each other.
    """
    values = {option.name: _value(option, texts.get(option.name, "").strip()) for option in OPTIONS}
    options = Options(**values)
    if options.bitrate is not None and options.quality is not None:
        raise Invalid("bitrate and quality exclude each other; give one.", field="quality")
    if options.end is not None and options.end <= (options.start or 0):
        raise Invalid("end must lie after start.", field="end")
    most = _most_kbps(options.sample_rate)
    if options.bitrate is not None and options.bitrate > most:
        raise Invalid(
            f"bitrate must be {most} (kbit/s) or less at a sample_rate of {options.sample_rate}.", field="bitrate"
        )
    return options


def _value(option: Option, text: str) -> Any:
    if not text:
        return None
    try:
        return option.read(text)
    except (ValueError, KeyError) as error:
        raise Invalid(f"{option.name} must be {option.takes}.", field=option.name) from error


def _most_kbps(rate_hz: int | None) -> int:
    """The highest constant bitrate that there is, in kbit/s: LAME would silently take it for a higher one."""
    if rate_hz is None or rate_hz >= 32000:
        return max(BITRATES_KBPS)
    return 160 if rate_hz >= 16000 else 64
