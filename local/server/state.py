"""The state directory of a run on this machine: its lock, its secrets, and the settings that follow from it."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from functions.convert.processors import usable

#: Scratch space below the state directory, emptied at each start.
WORK: Final = "work"
_KEYS: Final = "keys.json"


class InUseError(Exception):
    """Another run uses this state directory."""


def default_directory(env: Mapping[str, str] = os.environ) -> Path:
    """Where state is kept between runs: `VIDEO2MP3_STATE`, else by the XDG Base Directory Specification."""
    given = env.get("VIDEO2MP3_STATE")
    if given:
        return Path(given).absolute()
    base = env.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "video2mp3"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Be the directory's only run, so that every lease found in it is dead.

    Raises:
        InUseError: another run holds it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUseError(f"{directory} is used by another run; stop it or choose another with --state") from error
        yield


def settings(directory: Path, *, env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Every setting of a run on this machine; what the environment says goes before the defaults."""
    place = quote(str(directory))
    defaults = {
        "DATABASE_URL": database_url(directory),
        "BLOBS_URL": blobs_url(directory),
        "MAIL_URL": f"file://{place}/mail",
        "BROKER_URL": "memory:",
        "WORK_DIR": str(directory / WORK),
        # One more than work at a time: each job waits for the disk and for its turn before and after its encoding.
        "CONVERT_SLOTS": str(usable() + 1),
        "LOG_FORMAT": "text",
        # Quotas share a server between people; this is the machine of one.
        "MAX_JOBS_PER_HOUR": "0",
        "MAX_QUEUED_JOBS": "0",
        "MAX_STORED_BYTES": "0",
        **_secrets(directory),
    }
    return {**defaults, **{name: value for name, value in env.items() if value}}


def settings_here(directory: Path | None) -> dict[str, str]:
    """The settings for a command: in a pod the environment alone, which nothing is added to.

    Args:
        directory: the state directory; None for the usual one.
    """
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return dict(os.environ)
    return settings((directory or default_directory()).absolute())


def database_url(directory: Path) -> str:
    """The SQLite database of a state directory, whose name may hold anything."""
    # By hand: loading SQLAlchemy takes half of the time that `video2mp3 serve FUNCTION` needs to become gunicorn.
    return f"sqlite:///{quote(str(directory))}/video2mp3.db"


def blobs_url(directory: Path) -> str:
    """The blobs of a state directory."""
    return f"file://{quote(str(directory))}/blobs"


def _secrets(directory: Path) -> dict[str, str]:
    """This directory's own secrets, made when first asked for."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / _KEYS
    if not path.exists():
        temporary = path.with_suffix(f".{secrets.token_hex(8)}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(new_secrets(), file)
        # Two first runs at once agree on whoever was faster.
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    loaded: dict[str, str] = json.loads(path.read_text())
    return loaded


def new_secrets() -> dict[str, str]:
    """Fresh keys, by the settings that they are for."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from functions.auth.issuing import Issuer

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    jwks = json.dumps(Issuer(pem, token_seconds=1).jwks())
    return {"TOKEN_PRIVATE_KEY": pem, "TOKEN_JWKS": jwks, "LINK_KEY": secrets.token_urlsafe(48)}
