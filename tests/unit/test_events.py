"""The CloudEvents of the pipeline: made, encoded, read; garbage is told from them without harm."""

import json
from contextlib import suppress

import pytest
from cloudevents.http import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from functions.common import events
from functions.common.events import MalformedEvent, Notice

JOB = "01890a5d-ac96-774b-bcce-b302099a8057"
TRACE = f"00-{'1' * 32}-{'2' * 16}-01"
TYPES = {
    events.UPLOADED: ("/upload", "uploaded"),
    events.SUCCEEDED: ("/convert", "succeeded"),
    events.FAILED: ("/convert", "failed"),
}
#: The headers of an event in binary mode.
HEADERS = {
    "ce-specversion": "1.0",
    "ce-type": events.UPLOADED,
    "ce-source": "/upload",
    "ce-id": f"{JOB}.1.uploaded",
    "content-type": "application/json",
}


def body(**data: object) -> bytes:
    """The data of an event, right where nothing else is said."""
    return json.dumps({"job_id": JOB, "run": 1, **data}).encode()


@pytest.mark.parametrize("type_", TYPES)
def test_make(type_: str) -> None:
    """An event says what it is, of which run of which job, by the table of the architecture."""
    event = events.make(type_, job_id=JOB, run=3, traceparent=TRACE)
    source, outcome = TYPES[type_]
    assert (event["type"], event["source"], event["subject"]) == (type_, source, JOB)
    assert (event["id"], event["traceparent"]) == (f"{JOB}.3.{outcome}", TRACE)
    assert event.get_data() == {"job_id": JOB, "run": 3}


def test_the_same_again_has_the_same_id() -> None:
    """A repeat is known by its id; another run or outcome has another."""
    again = events.make(events.FAILED, job_id=JOB, run=1, reason="no_audio")
    assert events.make(events.FAILED, job_id=JOB, run=1)["id"] == again["id"]
    others = {events.make(type_, job_id=JOB, run=run)["id"] for type_ in TYPES for run in (1, 2)}
    assert len(others) == 6


def test_reason() -> None:
    """A failure tells its reason; where there is none the member is left out."""
    told = events.make(events.FAILED, job_id=JOB, run=1, reason="encrypted")
    assert told.get_data() == {"job_id": JOB, "run": 1, "reason": "encrypted"}
    plain = events.make(events.SUCCEEDED, job_id=JOB, run=1)
    assert (plain.get_data(), "traceparent" in plain.get_attributes()) == ({"job_id": JOB, "run": 1}, False)


@given(
    st.sampled_from(sorted(TYPES)),
    st.uuids(),
    st.integers(1, 2**31 - 1),
    st.none() | st.just(TRACE),
    st.none() | st.text(max_size=50),
)
def test_round_trip(type_: str, job_id: object, run: int, trace: str | None, reason: str | None) -> None:
    """What is made and encoded is read as what it was."""
    made = events.make(type_, job_id=str(job_id), run=run, traceparent=trace, reason=reason)
    headers, encoded = events.encode(made)
    read = events.read(headers, encoded)
    assert read.get_attributes() == made.get_attributes()
    assert read.get_data() == made.get_data()
    assert events.notice(read) == Notice(type_, str(made["id"]), str(job_id), run, trace)


def test_binary_mode() -> None:
    """In binary mode the attributes are headers and the body is the data alone."""
    headers, encoded = events.encode(events.make(events.UPLOADED, job_id=JOB, run=1))
    assert (headers["ce-specversion"], headers["ce-type"], headers["content-type"]) == (
        *("1.0", events.UPLOADED),
        "application/json",
    )
    assert json.loads(encoded) == {"job_id": JOB, "run": 1}


@pytest.mark.parametrize("change", [str.upper, str.title, str.lower], ids=["upper", "title", "lower"])
def test_header_names_have_no_case(change: object) -> None:
    """Servers spell header names as they like."""
    assert callable(change)
    event = events.read({change(name): value for name, value in HEADERS.items()}, body())
    assert events.notice(event).job_id == JOB


def test_structured_mode() -> None:
    """An event may come whole in its body."""
    whole = {
        **{name[3:]: value for name, value in HEADERS.items() if name.startswith("ce-")},
        "data": json.loads(body()),
    }
    event = events.read({"Content-Type": "application/cloudevents+json"}, json.dumps(whole).encode())
    assert events.notice(event) == Notice(events.UPLOADED, f"{JOB}.1.uploaded", JOB, 1, None)


def test_a_body_that_is_nested_too_deeply() -> None:
    """A body that no parser follows to its end is malformed in both modes."""
    for headers in (HEADERS, {"content-type": "application/cloudevents+json"}):
        for nested in (b"[" * 60_000, b'{"a":' * 10_000):
            with pytest.raises(MalformedEvent):
                events.read(headers, nested)


@pytest.mark.parametrize("missing", ["ce-specversion", "ce-type", "ce-source", "ce-id"])
def test_an_attribute_is_missing(missing: str) -> None:
    """Without one of the four attributes it is no event."""
    with pytest.raises(MalformedEvent):
        events.read({name: value for name, value in HEADERS.items() if name != missing}, body())


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"7", b'"x"', b"{}", b"\xff\xfe", b"{", b'{"job_id": "%s"}' % JOB.encode()],
    ids=range(9),
)
def test_data_that_is_none_of_ours(data: bytes) -> None:
    """A body that names no job and run is malformed, however it is broken."""
    with pytest.raises(MalformedEvent):
        events.notice(events.read(HEADERS, data))


@pytest.mark.parametrize(
    "job_id",
    [None, 7, "", "x", JOB.upper(), JOB + "\n", f" {JOB}", JOB[:-1], "../" + JOB, [JOB], {"a": JOB}, "0" * 36, True],
    ids=repr,
)
def test_a_job_id_that_is_none_of_ours(job_id: object) -> None:
    """Only what a step made itself may name a row or a blob."""
    with pytest.raises(MalformedEvent, match="job_id"):
        events.notice(events.read(HEADERS, body(job_id=job_id)))


@pytest.mark.parametrize("run", [None, 0, -1, 1.0, "1", True, 2**31, [1], 10**30], ids=repr)
def test_a_run_that_is_none(run: object) -> None:
    """A run is a positive whole number that the column holds."""
    with pytest.raises(MalformedEvent, match="run"):
        events.notice(events.read(HEADERS, body(run=run)))


def test_a_foreign_type_is_told() -> None:
    """The notice of another type is for its reader to refuse."""
    assert events.notice(events.read({**HEADERS, "ce-type": "com.example.other"}, body())).type == "com.example.other"


@pytest.mark.parametrize(
    "trace", ["x" * 500, TRACE.replace("1", "A"), TRACE + "0", "None", "01" + TRACE[2:], TRACE[:-3] + "\n"]
)
def test_a_trace_that_is_none(trace: str) -> None:
    """What is no trace context is not carried on, and takes nothing else of the event with it."""
    notice = events.notice(events.read({**HEADERS, "ce-traceparent": trace}, body()))
    assert (notice.traceparent, notice.job_id) == (None, JOB)


NAMES = st.sampled_from([*HEADERS, "ce-subject", "ce-time", "ce-traceparent", "ce-dataschema", "ce-x"])
VALUES = st.text(max_size=40) | st.sampled_from([*HEADERS.values(), "application/cloudevents+json", "text/plain"])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)
BODIES = st.binary(max_size=200) | JSON_VALUES.map(lambda value: json.dumps(value).encode())


@given(st.dictionaries(NAMES, VALUES, max_size=6), BODIES)
def test_garbage(headers: dict[str, str], garbage: bytes) -> None:
    """Whatever arrives is either an event or malformed; nothing else is raised."""
    with suppress(MalformedEvent):
        assert isinstance(events.notice(events.read(headers, garbage)), Notice)


@given(st.dictionaries(NAMES, VALUES, max_size=2), BODIES)
def test_garbage_in_a_good_envelope(headers: dict[str, str], garbage: bytes) -> None:
    """The same with all that an event must have around it."""
    with suppress(MalformedEvent):
        assert isinstance(events.notice(events.read({**HEADERS, **headers}, garbage)), Notice)


@given(
    st.dictionaries(
        st.sampled_from(["specversion", "type", "source", "id", "data", "data_base64", "datacontenttype", "time", "x"]),
        JSON_VALUES,
    )
)
def test_garbage_in_structured_mode(whole: dict[str, object]) -> None:
    """The same where attributes and data come in one JSON object."""
    given_ = {"specversion": "1.0", "type": "t", "source": "s", "id": "1", **whole}
    for value in (given_, whole):
        with suppress(MalformedEvent):
            events.notice(events.read({"content-type": "application/cloudevents+json"}, json.dumps(value).encode()))


@given(JSON_VALUES)
def test_any_data(data: object) -> None:
    """An event with any data whatever is told or malformed."""
    with suppress(MalformedEvent):
        events.notice(CloudEvent({"type": "t", "source": "s"}, data))
