"""What a person may ask of a conversion: each value that is right, and a message of its own for each that is not."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.common.errors import Invalid
from functions.common.options import BITRATES_KBPS, NAMES, OPTIONS, SAMPLE_RATES_HZ, Options, parse


def test_nothing_is_asked() -> None:
    """Without options everything is left to the defaults, and blank fields of a form are not options."""
    assert parse({}) == Options()
    assert parse(dict.fromkeys(NAMES, "  ")) == Options()
    assert Options().as_dict() == {}


def test_everything_is_asked() -> None:
    """Right values are read with the blanks around them."""
    asked = parse({"bitrate": " 192 ", "start": "1.5", "end": "90", "channels": "1"})
    assert asked == Options(bitrate=192, start=1.5, end=90.0, channels=1)


def test_other_names_are_not_looked_at() -> None:
    """Fields that are no options, and options in other letters, are left alone."""
    assert parse({"filename": "a.mp4", "fid": "1", "Bitrate": "7", "start_seconds": "x"}) == Options()


@pytest.mark.parametrize("bitrate", BITRATES_KBPS)
def test_bitrates(bitrate: int) -> None:
    """Each bitrate on offer is understood with and without its k."""
    assert parse({"bitrate": str(bitrate)}).bitrate == bitrate
    assert parse({"bitrate": f"{bitrate}k"}).bitrate == bitrate


@pytest.mark.parametrize("quality", range(10))
def test_qualities(quality: int) -> None:
    """Each step of LAME's scale is understood with and without its V; 0 is an answer, not an absence."""
    for text in (f"{quality}", f"V{quality}", f"v{quality}"):
        assert parse({"quality": text}).quality == quality
    assert parse({"quality": str(quality)}).as_dict() == {"quality": quality}


@pytest.mark.parametrize(("text", "channels"), [("1", 1), ("2", 2), ("source", None)])
def test_channels(text: str, channels: int | None) -> None:
    """Mono, stereo, or as the source has it."""
    assert parse({"channels": text}).channels == channels


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        *(("sample_rate", str(rate_hz), rate_hz) for rate_hz in SAMPLE_RATES_HZ),
        *(("sample_rate", "source", None), ("tags", "yes", None), ("tags", "No", False), ("chapters", "no", False)),
        *(
            ("loudness", "Yes", -16.0),
            ("loudness", "no", None),
            ("loudness", "-22.5", -22.5),
            ("loudness", "-30", -30.0),
        ),
        *(("track", "1", 1), ("track", "999", 999), ("track", "DE", "de"), ("track", "eng", "eng")),
    ],
)
def test_each_right_value(name: str, text: str, value: Any) -> None:
    """What is the default is no option at all, so that a job does not tell of it."""
    assert parse({name: text}) == Options(**{name: value})
    assert parse({name: text}).as_dict() == ({} if value is None else {name: value})


BITRATE = "bitrate must be one of 64, 80, 96, 112, 128, 160, 192, 224, 256, 320 (kbit/s)."
QUALITY = "quality must be 0 (best) to 9 (smallest)."
CHANNELS = "channels must be 1, 2 or source."
SECONDS = "{} must be a number of seconds, 0 or more."
SAMPLE_RATE = "sample_rate must be one of 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000 (Hz), or source."
TRACK = "track must be its number, 1 or more, or its language, such as de or eng."
LOUDNESS = "loudness must be yes (-16 LUFS), no, or LUFS from -30 to -10."
YES_OR_NO = "{} must be yes or no."
WRONG = {
    "bitrate": (
        BITRATE,
        ("0", "63", "65", "321", "-128", "128.0", "1e2", "128K", "128kk", "k", "best", "١٢٨", "²", "1" * 5000),
    ),
    "quality": (QUALITY, ("10", "-1", "2.0", "V", "VV2", "V10", "best", "٢", "²", "+2")),
    "channels": (CHANNELS, ("0", "3", "-1", "mono", "Source", "1.0", "01", "both")),
    "start": (SECONDS.format("start"), ("-1", "-0.001", "nan", "inf", "-inf", "1e400", "10000000", "1:30", "x", "1,5")),
    "sample_rate": (SAMPLE_RATE, ("0", "44.1", "44100.0", "44", "96000", "-8000", "44100Hz", "Source", "٨٠٠٠")),
    "track": (TRACK, ("0", "-1", "01", "1000", "1.0", "e", "engl", "de-DE", "eng,de", "٣", "Ελ", "0:a:1", "?")),
    "loudness": (LOUDNESS, ("-30.1", "-9.9", "0", "16", "nan", "-inf", "-16 LUFS", "true", "loud")),
    "tags": (YES_OR_NO.format("tags"), ("1", "0", "true", "y", "none", "yesno")),
    "cover": (YES_OR_NO.format("cover"), ("1", "front", "jpg")),
    "chapters": (YES_OR_NO.format("chapters"), ("1", "0", "false", "n", "all")),
    "end": (SECONDS.format("end"), ("-1", "nan", "inf", "1e400", "10000000", "00:01:00", "end", "0x10")),
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, (_, texts) in WRONG.items() for text in texts], ids=lambda text: text[:12]
)
def test_each_wrong_value(name: str, text: str) -> None:
    """A wrong value is refused with the message and the name of its own field."""
    with pytest.raises(Invalid) as caught:
        parse({name: text})
    assert (caught.value.detail, caught.value.members) == (WRONG[name][0], {"field": name})


def test_every_option_has_wrong_values() -> None:
    """The table above speaks of every option there is."""
    assert set(WRONG) == set(NAMES)


@pytest.mark.parametrize(
    ("texts", "field", "message"),
    [
        ({"bitrate": "128", "quality": "2"}, "quality", "bitrate and quality exclude each other; give one."),
        ({"start": "10", "end": "10"}, "end", "end must lie after start."),
        ({"start": "10", "end": "9.999"}, "end", "end must lie after start."),
        ({"end": "0"}, "end", "end must lie after start."),
        (
            {"bitrate": "192", "sample_rate": "24000"},
            "bitrate",
            "bitrate must be 160 (kbit/s) or less at a sample_rate of 24000.",
        ),
        (
            {"bitrate": "80", "sample_rate": "12000"},
            "bitrate",
            "bitrate must be 64 (kbit/s) or less at a sample_rate of 12000.",
        ),
    ],
)
def test_what_excludes_each_other(texts: dict[str, str], field: str, message: str) -> None:
    """Two values that are right each for itself but not together are refused with a message of their own."""
    with pytest.raises(Invalid) as caught:
        parse(texts)
    assert (caught.value.detail, caught.value.members) == (message, {"field": field})


@given(st.floats(0, 10**7, exclude_max=True))
def test_any_second(seconds: float) -> None:
    """Any finite number of seconds from 0 on is taken as exactly that."""
    assert parse({"start": repr(seconds)}).start == seconds


@given(st.floats().filter(lambda value: not 0 <= value < 10**7))
def test_no_other_number(seconds: float) -> None:
    """Negative, endless and senseless numbers are refused."""
    with pytest.raises(Invalid):
        parse({"end": repr(seconds)})


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=20)))
def test_any_text(texts: dict[str, str]) -> None:
    """Any text at all is either refused for a named field or read into options in their bounds."""
    refused: list[object] = []
    options = Options()
    try:
        options = parse(texts)
    except Invalid as error:
        refused.append(error.members["field"])
    assert set(refused) <= set(NAMES)
    assert options.bitrate in (None, *BITRATES_KBPS)
    assert options.quality is None or 0 <= options.quality <= 9
    assert options.channels in (None, 1, 2)
    for seconds in (options.start, options.end):
        assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


@given(
    st.sampled_from([None, *BITRATES_KBPS]),
    st.none() | st.floats(0, 1000),
    st.none() | st.floats(1001, 9_999_999),
    st.sampled_from([None, 1, 2]),
)
def test_as_dict_and_back(bitrate: int | None, start: float | None, end: float | None, channels: int | None) -> None:
    """What a row stores of options gives the same options again, through texts too."""
    options = Options(bitrate=bitrate, start=start, end=end, channels=channels)
    stored: dict[str, Any] = options.as_dict()
    assert Options(**stored) == options
    assert parse({name: repr(value) for name, value in stored.items()}) == options


def test_the_readme_tells_of_each() -> None:
    """Its table is what is declared."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    told = [row for row in readme.splitlines() if re.match(r"\| `\w+` \| .* \| .* \| ", row)]
    assert told == [f"| `{each.name}` | {each.help} | {each.takes} | {each.default} |" for each in OPTIONS]
