"""Reading settings: every one from a mapping, wrong ones named, none asked of the wrong function."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.common.config import NEEDS, load
from functions.common.errors import SettingError

#: Every setting that some function cannot start without, right for all of them.
WHOLE = {
    "DATABASE_URL": "sqlite:////tmp/a.db",
    "BLOBS_URL": "mongodb://mongo/",
    "BROKER_URL": "http://broker",
    "MAIL_URL": "smtp://mail:25",
    "PUBLIC_URL": "https://mp3.example.com",
    "TOKEN_PRIVATE_KEY": "pem",
    "TOKEN_JWKS": "{}",
    "LINK_KEY": "k" * 32,
    "BRIDGE_AMQP_URL": "amqp://rabbit/",
}
NUMBERS = {
    "TOKEN_SECONDS": ("token_seconds", 1),
    "MAX_UPLOAD_BYTES": ("max_upload_bytes", 0),
    "MAX_DURATION_SECONDS": ("max_duration_seconds", 0),
    "MAX_JOBS_PER_HOUR": ("max_jobs_per_hour", 0),
    "MAX_QUEUED_JOBS": ("max_queued_jobs", 0),
    "MAX_STORED_BYTES": ("max_stored_bytes", 0),
    "REQUESTS_PER_MINUTE": ("requests_per_minute", 0),
    "LOGINS_PER_MINUTE": ("logins_per_minute", 0),
    "CONVERT_SECONDS": ("convert_seconds", 0),
    "CONVERT_SLOTS": ("convert_slots", 1),
    "CONVERT_CPUS": ("convert_cpus", 0),
    "DOWNLOAD_SECONDS": ("download_seconds", 0),
    "STREAM_SECONDS": ("stream_seconds", 1),
}


def test_defaults() -> None:
    """Without a word in the environment the limits are those of the architecture, and there is no secret."""
    config = load({})
    assert (config.convert_seconds, config.download_seconds, config.stream_seconds) == (480, 540, 300)
    assert (config.convert_slots, config.token_seconds) == (1, 86_400)
    assert (config.source_days, config.result_days) == (1, 30)
    assert (config.registration_open, config.log_format, config.crash_at) == (True, "json", "")
    assert (config.token_private_key, config.link_key, config.token_jwks) == ("", "", "")
    assert (config.max_upload_bytes, config.max_stored_bytes) == (5 * 1024**3, 50 * 1024**3)
    assert (config.max_jobs_per_hour, config.max_queued_jobs) == (500, 200)
    assert (config.requests_per_minute, config.logins_per_minute) == (6000, 60)


@pytest.mark.parametrize("function", NEEDS)
def test_a_function_starts_with_what_it_needs_alone(function: str) -> None:
    """No function asks for a setting of another one."""
    config = load({name: WHOLE[name] for name in NEEDS[function]}, function=function)
    for name in set(WHOLE) - set(NEEDS[function]):
        assert getattr(config, name.lower()) == ""


@pytest.mark.parametrize(("function", "name"), [(function, name) for function in NEEDS for name in NEEDS[function]])
@pytest.mark.parametrize("value", [None, "", "  "], ids=["missing", "empty", "blank"])
def test_a_missing_setting_is_named(function: str, name: str, value: str | None) -> None:
    """A function that lacks a setting does not start, and says which one and who it is."""
    env = {**WHOLE, name: value or ""}
    if value is None:
        del env[name]
    with pytest.raises(SettingError, match=rf"^{name}\b.* is missing: {function} cannot start"):
        load(env, function=function)


def test_only_auth_needs_the_private_key() -> None:
    """The key that signs tokens is no setting of any other function, nor the link key of those that make no links."""
    assert [function for function, names in NEEDS.items() if "TOKEN_PRIVATE_KEY" in names] == ["auth"]
    assert {function for function, names in NEEDS.items() if "LINK_KEY" in names} == {"jobs", "notify", "download"}


def test_sink_of_a_binding_goes_first() -> None:
    """Where a SinkBinding says where events go, BROKER_URL is not asked."""
    env = {**WHOLE, "BROKER_URL": "memory:", "K_SINK": "http://ingress/default"}
    assert load(env, function="upload").broker_url == "http://ingress/default"
    assert load({**env, "K_SINK": ""}, function="upload").broker_url == "memory:"
    del env["BROKER_URL"]
    assert load(env, function="upload").broker_url == "http://ingress/default"


def test_values_are_stripped() -> None:
    """Blanks around a URL, as files of secrets have them, and the last slash of the public one, are no part of it."""
    env = {"PUBLIC_URL": " https://mp3.example.com/ \n", "DATABASE_URL": "sqlite:///a.db\n"}
    config = load(env)
    assert (config.public_url, config.database_url) == ("https://mp3.example.com", "sqlite:///a.db")


@pytest.mark.parametrize(
    "name", ["DATABASE_URL", "BLOBS_URL", "BROKER_URL", "MAIL_URL", "PUBLIC_URL", "K_SINK", "BRIDGE_AMQP_URL"]
)
@pytest.mark.parametrize("url", ["gopher://x", "nothing", "://x", "javascript:alert(1)", "sqlitex:///a"])
def test_an_unknown_scheme_is_named(name: str, url: str) -> None:
    """A URL of a scheme that no backend has stops the start, whichever function it is."""
    shown = "BROKER_URL" if name == "K_SINK" else name
    with pytest.raises(SettingError, match=f"^{shown} has an unknown scheme"):
        load({name: url})


@pytest.mark.parametrize("url", ["file:///tmp/blobs", "s3://bucket"])
def test_bridge_works_in_mongodb_alone(url: str) -> None:
    """Another store of blobs is a wrong setting for bridge, and named, and none for the other functions."""
    with pytest.raises(SettingError, match=r"^BLOBS_URL must be mongodb"):
        load({**WHOLE, "BLOBS_URL": url}, function="bridge")
    assert load({**WHOLE, "BLOBS_URL": url}, function="upload").blobs_url == url
    srv = "mongodb+srv://user:password@cluster.example.com/"
    assert load({**WHOLE, "BLOBS_URL": srv}, function="bridge").bridge_amqp_url == "amqp://rabbit/"


def test_an_unknown_scheme_is_answered_with_the_known() -> None:
    """The error tells what would be right, and never repeats the URL, which may hold a password."""
    with pytest.raises(SettingError) as caught:
        load({"DATABASE_URL": "oracle://scott:tiger@db"})
    assert "sqlite:, mysql+pymysql:, postgresql+psycopg:" in str(caught.value)
    assert "tiger" not in str(caught.value)


@given(st.sampled_from(sorted(NUMBERS)), st.integers(0, 10**15))
def test_whole_numbers(name: str, number: int) -> None:
    """A whole number that is large enough is taken as it is."""
    field, least = NUMBERS[name]
    if number < least:
        with pytest.raises(SettingError, match=name):
            load({name: str(number)})
    else:
        assert getattr(load({name: f" {number} "}), field) == number


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["-1", "+1", "1.5", "1e3", "0x10", "1_000", "²", "٣", "one", "1 2", "inf", "nan"])
def test_what_is_no_whole_number(name: str, text: str) -> None:
    """Whatever else is in the place of a number stops the start and is named."""
    with pytest.raises(SettingError, match=f"^{name} must be a whole number"):
        load({name: text})


def test_a_number_of_too_many_digits() -> None:
    """A number that Python does not read is a wrong setting, too, and named."""
    with pytest.raises(SettingError, match=r"^CONVERT_SECONDS"):
        load({"CONVERT_SECONDS": "1" * 5000})


@pytest.mark.parametrize("name", ["SOURCE_DAYS", "RESULT_DAYS"])
@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "-inf", "36500", "week", "1,5", "1d"])
def test_what_is_no_number_of_days(name: str, text: str) -> None:
    """Times of keeping are positive and less than a century."""
    with pytest.raises(SettingError, match=f"^{name} must be"):
        load({name: text})


def test_days() -> None:
    """Days may be fractions."""
    config = load({"SOURCE_DAYS": "0.25", "RESULT_DAYS": " 7 "})
    assert (config.source_days, config.result_days) == (0.25, 7)


@pytest.mark.parametrize(
    ("name", "text"),
    [("REGISTRATION", "yes"), ("REGISTRATION", "Open"), ("LOG_FORMAT", "xml"), ("DOWNLOAD_REDIRECT", "yes")],
)
def test_what_is_no_choice(name: str, text: str) -> None:
    """A choice is one of those that are named in the error."""
    with pytest.raises(SettingError, match=f"^{name} must be one of .*, not"):
        load({name: text})


def test_choices() -> None:
    """Registration can be closed, logs can be text, and downloads can be sent on."""
    config = load({"REGISTRATION": "closed", "LOG_FORMAT": "text", "DOWNLOAD_REDIRECT": "1"})
    assert (config.registration_open, config.log_format, config.download_redirect) == (False, "text", True)
    assert load({}).download_redirect is False


def test_a_weak_link_key() -> None:
    """A key that could be guessed is refused without being shown."""
    with pytest.raises(SettingError, match=r"^LINK_KEY must have at least 32") as caught:
        load({"LINK_KEY": "hunter2" * 4})
    assert "hunter2" not in str(caught.value)
    assert load({"LINK_KEY": "k" * 32}).link_key == "k" * 32


def test_foreign_names_are_not_read() -> None:
    """Variables of other programs change nothing."""
    assert load({"PATH": "/bin", "database_url": "x://", "MAX_UPLOAD": "x"}) == load({})


def test_settings_cannot_be_changed() -> None:
    """What was read at the start holds to the end."""
    config: Any = load({})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.crash_at = "claimed"
