"""Every kind of upload a release must answer, and the answer that is due; used by the tests of the product.

Nothing is kept: each sample is made by ffmpeg or Python when a test asks for it. All of them take about 15
seconds and, the holes of the sparse ones aside, 35 MB.
"""

from tests.media.containers import CONTAINERS
from tests.media.damage import DAMAGE
from tests.media.documents import DOCUMENTS
from tests.media.encode import TAGS, clip, tagged
from tests.media.lies import LIES
from tests.media.playlists import playlists
from tests.media.sample import Sample

__all__ = ["NAMES", "SAMPLES", "TAGS", "Sample", "clip", "playlists", "tagged"]

#: All samples but the playlists, whose content depends on who watches; names are unique.
SAMPLES: tuple[Sample, ...] = (*DOCUMENTS, *CONTAINERS, *LIES, *DAMAGE)

#: File names an upload may carry. Not all of them exist on a file system: `clip` goes by a name of its own
#: and the client sends one of these with it.
NAMES: tuple[str, ...] = (
    "-y.mp4",
    "--help.mp4",
    "a:b.mp4",
    "C:\\film.mp4",
    "concat:a|b",
    "file:a.mp4",
    "http://127.0.0.1/a.mp4",
    "pipe:0",
    "%03d.mp4",
    "%s%n.mp4",
    "*.mp4",
    "a b.mp4",
    " .mp4",
    "line\nbreak.mp4",
    "header\r\nX-Injected: yes\r\n\r\n.mp4",
    "'single'.mp4",
    '"double".mp4',
    "back`tick`.mp4",
    "$(id).mp4",
    "; rm -rf ~.mp4",
    "<script>alert(1)</script>.mp4",
    "{{7*7}}.mp4",
    "right\u202e4pm.mp4",
    "zero\u200bwidth.mp4",
    "\U0001f3ac.mp4",
    "a\u0308 combined.mp4",
    "日本語.mp4",
    "a" * 250 + ".mp4",
    "ä" * 125 + ".mp4",
    "a" * 1000 + ".mp4",
    "../../x",
    "..\\..\\x",
    "/etc/passwd",
    ".",
    "..",
    ".mp4",
    "film.mp4.",
    "CON.mp4",
    "nul\0byte.mp4",
    "bell\a and escape\x1b[31m.mp4",
    "",
)
