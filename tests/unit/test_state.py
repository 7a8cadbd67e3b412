"""The state directory of a run on this machine: one run at a time, its own secrets, settings that follow from it."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import make_url

from functions.auth.issuing import Issuer
from functions.common.config import NEEDS, OPTIONAL, load
from functions.common.errors import SettingError
from functions.common.tokens import Verifier
from local.server.state import InUseError, default_directory, locked, settings

ROOT: Final = Path(__file__).parents[2]


def mode(path: Path) -> int:
    """The permission bits of a path."""
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_private(tmp_path: Path) -> None:
    """Nobody else can read the keys or look into the directory, whatever the umask says."""
    umask = os.umask(0)
    try:
        settings(tmp_path / "state", env={})
    finally:
        os.umask(umask)
    assert mode(tmp_path / "state") == 0o700
    assert mode(tmp_path / "state" / "keys.json") == 0o600
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["keys.json"]


def test_secrets_stay(tmp_path: Path) -> None:
    """A second run has the same keys, so that tokens of the first still hold; another directory has others."""
    names = ("TOKEN_PRIVATE_KEY", "TOKEN_JWKS", "LINK_KEY")
    first, again = (settings(tmp_path / "state", env={}) for _ in range(2))
    other = settings(tmp_path / "other", env={})
    assert all(first[name] == again[name] != other[name] for name in names)
    assert len(first["LINK_KEY"]) >= 43


def test_secrets_fit_together(tmp_path: Path) -> None:
    """What is signed with the private key is accepted with the public one."""
    chosen = settings(tmp_path, env={})
    token = Issuer(chosen["TOKEN_PRIVATE_KEY"], token_seconds=60).issue("someone", "a@example.com")
    assert Verifier(chosen["TOKEN_JWKS"]).verify(token).account_id == "someone"


def test_two_first_runs_at_once(tmp_path: Path) -> None:
    """Of several that make the keys at the same moment all go on with one set of them."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: settings(tmp_path / "state", env={})["LINK_KEY"], range(8)))
    assert len(set(made)) == 1
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["keys.json"]


def test_a_first_run_that_was_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that appear while others are being made are not replaced: somebody signs with them already."""
    first = settings(tmp_path / "first", env={})
    keys = (tmp_path / "first" / "keys.json").read_bytes()

    def late() -> dict[str, str]:
        (tmp_path / "state" / "keys.json").write_bytes(keys)
        return {"LINK_KEY": "late"}

    monkeypatch.setattr("local.server.state.new_secrets", late)
    assert settings(tmp_path / "state", env={})["LINK_KEY"] == first["LINK_KEY"]
    assert (tmp_path / "state" / "keys.json").read_bytes() == keys


@pytest.mark.parametrize("name", ["state", "with space", "ümläut \U0001f3ac", "per%20cent", "ques?tion", "ha#sh"])
def test_every_function_starts_with_them(tmp_path: Path, name: str) -> None:
    """The settings are whole, and point into the directory, whatever its name."""
    directory = tmp_path / name
    chosen = {"PUBLIC_URL": "http://localhost:8080", **settings(directory, env={})}
    for function in set(NEEDS) - OPTIONAL:
        load(chosen, function=function)
    config = load(chosen)
    assert (config.broker_url, config.log_format) == ("memory:", "text")
    assert (config.max_jobs_per_hour, config.max_queued_jobs, config.max_stored_bytes) == (0, 0, 0)
    assert Path(config.work_dir).parent == directory
    database = make_url(config.database_url).database
    assert database is not None
    assert Path(database).parent == directory


def test_the_environment_goes_first(tmp_path: Path) -> None:
    """What a person sets holds, and what is set to nothing does not."""
    env = {"LINK_KEY": "k" * 40, "MAIL_URL": "smtp://mail", "DATABASE_URL": "", "OTHER": "x"}
    chosen = settings(tmp_path, env=env)
    assert (chosen["LINK_KEY"], chosen["MAIL_URL"], chosen["OTHER"]) == ("k" * 40, "smtp://mail", "x")
    assert chosen["DATABASE_URL"].startswith("sqlite:")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "oracle://host/db"),
        ("BLOBS_URL", "ftp://host/"),
        ("MAIL_URL", "carrier-pigeon:"),
        ("BROKER_URL", "amq"),
        ("BRIDGE_AMQP_URL", "http://host/"),
        ("PUBLIC_URL", "example.com"),
        ("MAX_UPLOAD_BYTES", "1G"),
        ("CONVERT_SLOTS", "0"),
        ("RESULT_DAYS", "nan"),
        ("REGISTRATION", "shut"),
        ("LINK_KEY", "short"),
        ("MAIL_FROM", "nobody"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, name: str, value: str) -> None:
    """What cannot be used is not made good by a default: one line names it."""
    with pytest.raises(SettingError, match=rf"\A{name}\b.*\Z"):
        load(settings(tmp_path, env={name: value}))


@pytest.mark.parametrize(
    ("env", "directory"),
    [
        ({"VIDEO2MP3_STATE": "/a/b", "XDG_STATE_HOME": "/x"}, "/a/b"),
        ({"XDG_STATE_HOME": "/x"}, "/x/video2mp3"),
        ({"VIDEO2MP3_STATE": "", "XDG_STATE_HOME": ""}, "{home}/.local/state/video2mp3"),
        ({}, "{home}/.local/state/video2mp3"),
    ],
)
def test_default_directory(env: dict[str, str], directory: str) -> None:
    """State is kept where the variable says, else where the XDG specification says."""
    assert default_directory(env) == Path(directory.format(home=Path.home()))


def test_a_relative_directory_is_made_absolute() -> None:
    """A relative directory is one of the place where the run was started."""
    assert default_directory({"VIDEO2MP3_STATE": "state"}) == Path.cwd() / "state"


def test_one_run_at_a_time(tmp_path: Path) -> None:
    """While one run holds the directory another is told which one it is; afterwards it can be had."""
    directory = tmp_path / "state"
    with locked(directory):
        assert mode(directory) == 0o700
        with pytest.raises(InUseError, match=str(directory)), locked(directory):
            pytest.fail("two runs hold one directory")
        with locked(tmp_path / "other"):
            pass
    with locked(directory):
        pass


HOLD: Final = """
import sys
from pathlib import Path
from local.server.state import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    """The lock ends with its process, however that ended."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(InUseError), locked(tmp_path):
                pytest.fail("two processes hold one directory")
        finally:
            holder.kill()
    with locked(tmp_path):
        pass
