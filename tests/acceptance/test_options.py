"""Every option of a conversion by every way in: over HTTP, by the command line, and in a message of an older system."""

import json
import os
import re
import subprocess
from array import array
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from mutagen.mp3 import MP3, BitrateMode

from functions.common.options import NAMES, OPTIONS
from tests.faults.installation import Installation, installed
from tests.media.encode import AAC, encode, sound, still
from tests.support.command import run
from tests.support.older import deliver, message
from tests.support.serving import PASSWORD, Api, Served

#: What `recording` makes: a minute's worth of everything that an option can change, in six seconds.
TONES_HZ: Final = (440, 880, 1320)
METADATA: Final = """\
;FFMETADATA1
title=Blue
track=3/12
comment=Two words
[CHAPTER]
TIMEBASE=1/1000
START=0
END=2500
title=One
[CHAPTER]
TIMEBASE=1/1000
START=2500
END=6000
title=Two
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three audio tracks of a tone each, the second one in German, with tags, two chapters and a cover."""
    folder = tmp_path_factory.mktemp("recording")
    (folder / "metadata").write_text(METADATA)
    tones = [part for hz in TONES_HZ for part in sound(6, frequency_hz=hz)]
    maps = ("-map", "0:a", "-map", "1:a", "-map", "2:a", "-map_metadata", "3", "-map_chapters", "3")
    languages = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=ger")
    cover = ("-attach", still(folder / "cover.png", size="64x64"), "-metadata:s:t", "mimetype=image/png")
    return encode(folder / "film.mkv", *tones, "-i", folder / "metadata", *maps, *languages, *cover, *AAC, "-ac", "2")


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, str, Served]]:
    """An older system with a video in it, and our bridge."""
    with installed(tmp_path_factory.mktemp("older"), "sqlite") as home, home.bridge() as bridge:
        yield home, home.older.put(b"a video" * 1000), bridge


@pytest.fixture
def me(server: Served) -> Api:
    """The one account of this module, which the command line logs in to."""
    return server.account("options@example.com")


def pitch_hz(mp3: bytes) -> float:
    """Pitch of a tone, by its zero crossings."""
    command = ["ffmpeg", "-v", "error", "-i", "pipe:0", "-f", "s16le", "-ac", "1", "-ar", "48000", "pipe:1"]
    samples = array("h", subprocess.run(command, input=mp3, capture_output=True, check=True).stdout)
    middle = samples[12_000:36_000]
    rises = sum(before < 0 <= after for before, after in pairwise(middle))
    return rises * 48_000 / len(middle)


def lufs(mp3: bytes) -> float:
    """Loudness, by ffmpeg's scanner of EBU R128."""
    command = ["ffmpeg", "-hide_banner", "-nostats", "-i", "pipe:0", "-af", "ebur128", "-f", "null", "-"]
    said = subprocess.run(command, input=mp3, capture_output=True, check=True).stderr.decode()
    return float(re.findall(r"^    I: +(-\d+\.\d) LUFS", said, re.MULTILINE)[-1])


def info(mp3: bytes) -> Any:
    """What the MP3's own header says."""
    return MP3(BytesIO(mp3)).info


def frames(mp3: bytes) -> set[str]:
    """The kinds of its ID3 frames."""
    tags: Any = MP3(BytesIO(mp3)).tags
    return {frame.FrameID for frame in tags.values()}


#: An option, what it is given, what the job tells of it, and what can be heard or read of it in the MP3.
RIGHT: Final[list[tuple[str, str, object, Callable[[bytes], bool]]]] = [
    ("bitrate", "96k", 96, lambda mp3: (info(mp3).bitrate, info(mp3).bitrate_mode) == (96_000, BitrateMode.CBR)),
    ("quality", "V9", 9, lambda mp3: info(mp3).bitrate_mode is BitrateMode.VBR and info(mp3).bitrate < 60_000),
    ("channels", "1", 1, lambda mp3: info(mp3).channels == 1),
    ("sample_rate", "22050", 22050, lambda mp3: info(mp3).sample_rate == 22_050),
    ("start", "2", 2.0, lambda mp3: round(info(mp3).length, 1) == 4.0),
    ("end", "4.5", 4.5, lambda mp3: round(info(mp3).length, 1) == 4.5),
    ("track", "3", 3, lambda mp3: abs(pitch_hz(mp3) - 1320) < 10),
    ("track", "DE", "de", lambda mp3: abs(pitch_hz(mp3) - 880) < 10),
    ("loudness", "-24", -24.0, lambda mp3: abs(lufs(mp3) + 24) < 0.5),
    ("tags", "no", False, lambda mp3: frames(mp3) == {"CTOC", "CHAP", "APIC"}),
    ("cover", "no", False, lambda mp3: frames(mp3) == {"TIT2", "TRCK", "COMM", "CTOC", "CHAP"}),
    ("chapters", "no", False, lambda mp3: frames(mp3) == {"TIT2", "TRCK", "COMM", "APIC"}),
]
#: What is wrong of each, and not of its neighbours.
WRONG: Final = {
    "bitrate": "129",
    "quality": "10",
    "channels": "3",
    "sample_rate": "44000",
    "start": "-1",
    "end": "soon",
    "track": "0",
    "loudness": "-9",
    "tags": "maybe",
    "cover": "front",
    "chapters": "2",
}


def test_the_tables_speak_of_every_option() -> None:
    """Whoever adds an option has to say here what it does."""
    assert [*dict.fromkeys(name for name, *_ in RIGHT)] == [*WRONG] == [*NAMES]


def test_without_any(me: Api, recording: Path) -> None:
    """Everything that is known of the recording is there, and its first track is heard."""
    job_id = me.upload_id(recording)
    assert me.ended(job_id)["options"] == {}
    mp3 = me.download(job_id)
    assert abs(pitch_hz(mp3) - 440) < 10
    tags: Any = MP3(BytesIO(mp3)).tags
    assert {name: str(tags[name]) for name in ("TIT2", "TRCK", "COMM::XXX")} == {
        "TIT2": "Blue",
        "TRCK": "3/12",
        "COMM::XXX": "Two words",
    }
    chapters = [(str(found.sub_frames["TIT2"]), found.start_time, found.end_time) for found in tags.getall("CHAP")]
    [cover] = tags.getall("APIC")
    assert cover.data == (recording.parent / "cover.png").read_bytes()
    assert sorted(chapters) == [("One", 0, 2500), ("Two", 2500, 6000)]


@pytest.mark.parametrize(("name", "text", "value", "is_so"), RIGHT, ids=lambda part: str(part)[:12])
def test_each_does_what_it_says(
    me: Api,
    recording: Path,
    older: tuple[Installation, str, Served],
    tmp_path: Path,
    *,
    name: str,
    text: str,
    value: object,
    is_so: Callable[[bytes], bool],
) -> None:
    """The same by HTTP and by the command line, down to the bytes; a message makes a job of the same options."""
    job_id = me.upload_id(recording, **{name: text})
    assert me.ended(job_id)["options"] == {name: value}
    mp3 = me.download(job_id)
    assert is_so(mp3)
    assert cli(recording, "-o", tmp_path, flag(name), text, "--server", me.url).returncode == 0
    assert (tmp_path / "film.mp3").read_bytes() == mp3
    home, fid, bridge = older
    username = f"{name}-{text}@example.com".lower()
    assert deliver(bridge.url, asking(fid, username, {name: text})) == 204
    query = "SELECT options FROM jobs JOIN accounts ON accounts.id = jobs.owner WHERE email = :email"
    [row] = home.rows(query, email=username)
    assert json.loads(row["options"]) == {name: value}


@pytest.mark.parametrize(("name", "text"), WRONG.items())
def test_each_wrong_value_is_named(
    me: Api, recording: Path, older: tuple[Installation, str, Served], name: str, text: str
) -> None:
    """By HTTP as a 422, on the terminal as wrong usage, of a message in the log; nothing is made of any."""
    [takes] = [option.takes for option in OPTIONS if option.name == name]
    sentence = f"{name} must be {takes}."
    answer = me.upload(recording, **{name: text})
    problem = answer.json()
    assert (answer.status_code, problem["detail"], problem["field"]) == (422, sentence, name)
    done = cli(recording, flag(name), text)
    assert (done.returncode, done.stderr.strip()) == (2, sentence)
    home, fid, bridge = older
    before = len(bridge.log())
    assert deliver(bridge.url, asking(fid, "wrong@example.com", {name: text})) == 204
    assert sentence in bridge.log()[before:]
    assert home.rows("SELECT * FROM accounts WHERE email = 'wrong@example.com'") == []


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        ({"bitrate": 128, "start": 1.5, "tags": False}, {"bitrate": 128, "start": 1.5, "tags": False}),
        ({"tags": True, "channels": "source"}, {}),
        (None, {}),
    ],
)
def test_a_message_spells_as_json_does(
    older: tuple[Installation, str, Served], options: dict[str, object] | None, stored: dict[str, object]
) -> None:
    """Numbers are numbers, and yes and no are true and false."""
    home, fid, bridge = older
    username = f"json{len(str(options))}@example.com"
    assert deliver(bridge.url, asking(fid, username, options)) == 204
    query = "SELECT options FROM jobs JOIN accounts ON accounts.id = jobs.owner WHERE email = :email"
    [row] = home.rows(query, email=username)
    assert json.loads(row["options"]) == stored


@pytest.mark.parametrize("options", ["bitrate=128", [128], {"bitrate": [128]}, {"bitrate": None}, 7])
def test_a_message_whose_options_are_none(older: tuple[Installation, str, Served], options: object) -> None:
    """It is dropped with a word."""
    _, fid, bridge = older
    before = len(bridge.log())
    assert deliver(bridge.url, asking(fid, "wrong@example.com", options)) == 204
    assert "its options are no object of texts, numbers, true and false" in bridge.log()[before:]


@pytest.mark.parametrize("track", ["4", "fr", "und"])
def test_a_track_that_is_not_there(me: Api, recording: Path, track: str) -> None:
    """The job fails with a sentence that says so."""
    job = me.ended(me.upload_id(recording, track=track))
    assert (job["state"], job["reason"]) == ("failed", "no_track")
    assert job["message"] == "The video has no such audio track."


def test_a_language_of_what_has_no_tracks(me: Api, silent_video: Path, tmp_path: Path) -> None:
    """What is wrong with the recording is told, rather than what is wrong with the language."""
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(bytes(range(256)) * 64)
    for source, reason in ((silent_video, "no_audio"), (broken, "unreadable")):
        job = me.ended(me.upload_id(source, track="de"))
        assert (job["state"], job["reason"]) == ("failed", reason)


def flag(name: str) -> str:
    """How the command line spells an option."""
    return f"--{name.replace('_', '-')}"


def asking(fid: str, username: str, options: object) -> bytes:
    """A message that says how to convert."""
    return json.dumps({**json.loads(message(fid, username)), "options": options}).encode()


def cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `video2mp3 convert`."""
    env = {
        "PATH": os.environ["PATH"],
        "VIDEO2MP3_EMAIL": "options@example.com",
        "VIDEO2MP3_PASSWORD": PASSWORD,
        "NO_COLOR": "1",
    }
    return run("convert", *map(str, arguments), env=env)
