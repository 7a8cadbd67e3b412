"""What a person may ask of a conversion, and the one place where it is checked."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Final

from functions.common.errors import Invalid

#: Constant bitrates of MPEG-1 Layer III that are worth offering, in kbit/s (ISO 11172-3, table of bit rates).
BITRATES_KBPS: Final = (64, 80, 96, 112, 128, 160, 192, 224, 256, 320)


@dataclass(frozen=True)
class Options:
    """How to convert; what is None is left to the default."""

    #: Constant bitrate in kbit/s; excludes `quality`.
    bitrate: int | None = None
    #: LAME's VBR scale, 0 (best) to 9; 2 where neither is given.
    quality: int | None = None
    #: Seconds into the source.
    start: float | None = None
    #: Seconds into the source.
    end: float | None = None
    #: 1, 2, or None for as many as the source has, up to two.
    channels: int | None = None

    def as_dict(self) -> dict[str, int | float]:
        """The options that were given."""
        return {name: value for name, value in asdict(self).items() if value is not None}


NAMES: Final = tuple(field.name for field in fields(Options))


def parse(texts: Mapping[str, str]) -> Options:
    """Read options as forms, queries and rows spell them; other names in the mapping are not looked at.

    Raises:
        Invalid: a value is wrong or two exclude each other.
    """
    given = {name: texts[name].strip() for name in NAMES if texts.get(name, "").strip()}
    options = Options(
        bitrate=_bitrate(given.get("bitrate")),
        quality=_quality(given.get("quality")),
        start=_seconds("start", given.get("start")),
        end=_seconds("end", given.get("end")),
        channels=_channels(given.get("channels")),
    )
    if options.bitrate is not None and options.quality is not None:
        raise Invalid("bitrate and quality exclude each other; give one.", field="quality")
    if options.end is not None and options.end <= (options.start or 0):
        raise Invalid("end must lie after start.", field="end")
    return options


def _bitrate(text: str | None) -> int | None:
    if text is None:
        return None
    digits = text.removesuffix("k")
    if digits in map(str, BITRATES_KBPS):
        return int(digits)
    known = ", ".join(map(str, BITRATES_KBPS))
    raise Invalid(f"bitrate must be one of {known} (kbit/s).", field="bitrate")


def _quality(text: str | None) -> int | None:
    if text is None:
        return None
    digit = text.upper().removeprefix("V")
    if len(digit) == 1 and digit in "0123456789":
        return int(digit)
    raise Invalid("quality must be 0 (best) to 9 (smallest).", field="quality")


def _seconds(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not isfinite(seconds) or not 0 <= seconds < 10**7:
        raise Invalid(f"{name} must be a number of seconds, 0 or more.", field=name)
    return seconds


def _channels(text: str | None) -> int | None:
    if text is None or text == "source":
        return None
    if text in ("1", "2"):
        return int(text)
    raise Invalid("channels must be 1, 2 or source.", field="channels")
