"""Every setting of every function, read from one mapping in one place."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from functions.common.errors import SettingError

#: What each function cannot start without.
NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "auth": ("DATABASE_URL", "TOKEN_PRIVATE_KEY", "TOKEN_JWKS"),
    "upload": ("DATABASE_URL", "BLOBS_URL", "BROKER_URL", "TOKEN_JWKS"),
    "convert": ("DATABASE_URL", "BLOBS_URL"),
    "notify": ("DATABASE_URL", "MAIL_URL", "PUBLIC_URL", "LINK_KEY"),
    "jobs": ("DATABASE_URL", "BLOBS_URL", "BROKER_URL", "TOKEN_JWKS", "LINK_KEY"),
    "download": ("DATABASE_URL", "BLOBS_URL", "TOKEN_JWKS", "LINK_KEY"),
    "recover": ("DATABASE_URL", "BLOBS_URL", "BROKER_URL"),
    "bridge": ("DATABASE_URL", "BLOBS_URL", "BROKER_URL", "BRIDGE_AMQP_URL"),
}
#: Functions that only some installations have; the settings of a state directory are not enough for them.
OPTIONAL: Final = frozenset({"bridge"})

_SCHEMES: Final = {
    "DATABASE_URL": ("sqlite", "mysql+pymysql", "postgresql+psycopg"),
    "BLOBS_URL": ("file", "mongodb", "mongodb+srv", "s3"),
    "BROKER_URL": ("memory", "http", "https", "amqp", "amqps"),
    "MAIL_URL": ("file", "smtp", "smtps"),
    "PUBLIC_URL": ("http", "https"),
    "BRIDGE_AMQP_URL": ("amqp", "amqps"),
    "WAKE_URL": ("http", "https"),
}

_SENDER: Final = re.compile(r"(?P<name>[\w .'&-]+ <)?[\w.!#$%&'*+/=?^`{|}~-]+@[A-Za-z0-9.-]+(?(name)>)", re.ASCII)
DAY_SECONDS: Final = 86_400


@dataclass(frozen=True)
class Config:
    """What the environment says; a setting that a function does not need may be empty."""

    database_url: str
    blobs_url: str
    #: Every setting whose name begins with `AWS_`, for blobs in S3: the names are Amazon's.
    aws: Mapping[str, str]
    #: Where events go: `K_SINK` where a SinkBinding set it, else `BROKER_URL`.
    broker_url: str
    mail_url: str
    #: Sender address of mails.
    mail_from: str
    #: The one base of links in mails, without a slash at the end.
    public_url: str
    #: Ed25519 key that signs access tokens, PEM; only auth has it.
    token_private_key: str
    #: Public keys that access tokens are checked with, a JSON Web Key Set (RFC 7517).
    token_jwks: str
    token_seconds: int
    #: Secret that signs download links.
    link_key: str
    registration_open: bool
    #: 0 stands for no limit but the disk's.
    max_upload_bytes: int
    #: What one account may have; 0 stands for no limit.
    max_jobs_per_hour: int
    max_queued_jobs: int
    max_stored_bytes: int
    #: What one address may send to the one-process run; 0 stands for no limit.
    requests_per_minute: int
    logins_per_minute: int
    #: Longest audio that is converted; 0 stands for no limit.
    max_duration_seconds: int
    #: One deadline for all that convert does for an event; 0 stands for none.
    convert_seconds: int
    #: Conversions that one process runs at once.
    convert_slots: int
    #: Processors that conversions may use; 0 stands for all that this process has.
    convert_cpus: int
    #: Scratch space of convert; empty for the system's own.
    work_dir: str
    #: When a download ends itself, before the platform cuts it; 0 stands for never.
    download_seconds: int
    #: Whether downloads are sent on to the store, where it has addresses of its own.
    download_redirect: bool
    #: When an event stream ends itself.
    stream_seconds: int
    #: Days that a succeeded job's source is kept.
    source_days: float
    #: Days that results, failed jobs and their sources are kept.
    result_days: float
    #: "json" for machines, "text" for people.
    log_format: str
    #: RabbitMQ of the system that bridge works beside.
    bridge_amqp_url: str
    #: Address of the step that comes next, where it may be asleep; empty where it never is.
    wake_url: str
    #: Name of the point at which the process group ends itself; only fault tests set it.
    crash_at: str


def load(env: Mapping[str, str], *, function: str | None = None) -> Config:
    """Read the settings, and those that this function needs strictly.

    Raises:
        SettingError: one is missing or wrong; the message names it.
    """
    broker = env.get("K_SINK") or env.get("BROKER_URL", "")
    texts = {**{name: env.get(name, "").strip() for name in _SCHEMES}, "BROKER_URL": broker.strip()}
    for name in NEEDS.get(function or "", ()):
        if not (texts.get(name) or env.get(name, "").strip()):
            also = " (or K_SINK)" if name == "BROKER_URL" else ""
            raise SettingError(f"{name}{also} is missing: {function} cannot start without it")
    for name, schemes in _SCHEMES.items():
        if texts[name]:
            _check_scheme(name, texts[name], schemes)
    if function == "bridge" and not texts["BLOBS_URL"].startswith("mongodb"):
        raise SettingError("BLOBS_URL must be mongodb:// or mongodb+srv://: bridge works in the other system's GridFS")
    return Config(
        database_url=texts["DATABASE_URL"],
        blobs_url=texts["BLOBS_URL"],
        aws={name: value.strip() for name, value in env.items() if name.startswith("AWS_") and value.strip()},
        broker_url=texts["BROKER_URL"],
        mail_url=texts["MAIL_URL"],
        mail_from=_mail_from(env),
        public_url=texts["PUBLIC_URL"].rstrip("/"),
        token_private_key=env.get("TOKEN_PRIVATE_KEY", ""),
        token_jwks=env.get("TOKEN_JWKS", ""),
        token_seconds=_whole(env, "TOKEN_SECONDS", DAY_SECONDS, least=1),
        link_key=_link_key(env),
        registration_open=_choice(env, "REGISTRATION", ("open", "closed")) == "open",
        max_upload_bytes=_whole(env, "MAX_UPLOAD_BYTES", 5 * 1024**3),
        max_jobs_per_hour=_whole(env, "MAX_JOBS_PER_HOUR", 500),
        max_queued_jobs=_whole(env, "MAX_QUEUED_JOBS", 200),
        max_stored_bytes=_whole(env, "MAX_STORED_BYTES", 50 * 1024**3),
        requests_per_minute=_whole(env, "REQUESTS_PER_MINUTE", 6000),
        logins_per_minute=_whole(env, "LOGINS_PER_MINUTE", 60),
        max_duration_seconds=_whole(env, "MAX_DURATION_SECONDS", 12 * 3600),
        convert_seconds=_whole(env, "CONVERT_SECONDS", 480),
        convert_slots=_whole(env, "CONVERT_SLOTS", 1, least=1),
        convert_cpus=_whole(env, "CONVERT_CPUS", 0),
        work_dir=env.get("WORK_DIR", ""),
        download_seconds=_whole(env, "DOWNLOAD_SECONDS", 540),
        download_redirect=_choice(env, "DOWNLOAD_REDIRECT", ("0", "1")) == "1",
        stream_seconds=_whole(env, "STREAM_SECONDS", 300, least=1),
        source_days=_days(env, "SOURCE_DAYS", 1),
        result_days=_days(env, "RESULT_DAYS", 30),
        log_format=_choice(env, "LOG_FORMAT", ("json", "text")),
        bridge_amqp_url=texts["BRIDGE_AMQP_URL"],
        wake_url=texts["WAKE_URL"].rstrip("/"),
        crash_at=env.get("CRASH_AT", ""),
    )


def _check_scheme(name: str, url: str, schemes: tuple[str, ...]) -> None:
    scheme = urlsplit(url).scheme
    if scheme not in schemes:
        known = ", ".join(f"{known}:" for known in schemes)
        raise SettingError(f"{name} has an unknown scheme {scheme or 'of none'!r}; known are {known}")


def _whole(env: Mapping[str, str], name: str, default: int, *, least: int = 0) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < least:
        raise SettingError(f"{name} must be a whole number of at least {least}, not {text!r}")
    return int(text)


def _days(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "").strip()
    try:
        days = float(text) if text else default
    except ValueError as error:
        raise SettingError(f"{name} must be a number of days, not {text!r}") from error
    if not 0 < days < 36_500:
        raise SettingError(f"{name} must be more than 0 and less than 36500 days, not {text!r}")
    return days


def _choice(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    text = env.get(name, "").strip() or choices[0]
    if text not in choices:
        raise SettingError(f"{name} must be one of {', '.join(choices)}, not {text!r}")
    return text


def _mail_from(env: Mapping[str, str]) -> str:
    sender = env.get("MAIL_FROM", "").strip() or "video2mp3 <no-reply@localhost>"
    if not _SENDER.fullmatch(sender):
        raise SettingError(f"MAIL_FROM must be an address, or a name and <address>, not {sender!r}")
    return sender


def _link_key(env: Mapping[str, str]) -> str:
    key = env.get("LINK_KEY", "")
    if key and len(key) < 32:
        raise SettingError("LINK_KEY must have at least 32 characters")
    return key
