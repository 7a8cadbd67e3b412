"""Colours of the plots: told apart by everybody (Okabe and Ito, 2008), on light and dark ground."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Theme:
    """A ground, and what is written on it."""

    name: str
    ground: str
    text: str
    grid: str


LIGHT: Final = Theme("light", "#ffffff", "#1f2328", "#d8dee4")
DARK: Final = Theme("dark", "#14181d", "#e6e8eb", "#39424c")
THEMES: Final = (LIGHT, DARK)

_BLUE, _ORANGE, _GREEN, _VERMILION = "#0072b2", "#e69f00", "#009e73", "#d55e00"
#: In place of the yellow, whose lines nobody sees on white.
_SKY, _PURPLE, _GREY = "#56b4e9", "#cc79a7", "#9aa3ad"

#: In the order of a stack, from the ground up: what is done lies at the bottom.
STATES: Final = {
    "mailed": _BLUE,
    "succeeded": _SKY,
    "converting": _ORANGE,
    "queued": _GREY,
    "uploading": _PURPLE,
    "failed": _VERMILION,
    "given up": _VERMILION,
    "lost": _VERMILION,
}
PHASES: Final = {"upload": _PURPLE, "queue": _GREY, "convert": _ORANGE, "mail": _SKY}
#: Of functions: with a dash each, since there are more of them than colours.
SERIES: Final = (_BLUE, _ORANGE, _GREEN, _VERMILION, _SKY, _PURPLE, _GREY)
ARRIVALS: Final = _GREY
