"""Names that strangers gave their files."""

import unicodedata
from typing import Final

#: Characters that turn the direction of the text around them (Unicode TR 9).
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean_name(name: str) -> str:
    """The part of an upload's name that people should see: no folders, no control or direction characters."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(char for char in last if char not in _BIDI and unicodedata.category(char) not in ("Cc", "Cs"))
    return shown.strip()[:255] or "upload"
