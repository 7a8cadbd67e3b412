"""PostgreSQL."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

import psycopg

from local.testservers.server import HOST, Server

_USER = "video2mp3"
#: The packages' account: PostgreSQL refuses to run as root.
_OWNER = "postgres"


class PostgreSQL(Server):
    """A PostgreSQL server with one superuser."""

    name = "postgresql"
    packages = ("postgresql",)
    ports: ClassVar = {"postgresql": 20432}

    def is_installed(self) -> bool:
        """See Server."""
        return _programs() is not None

    def version(self) -> str:
        """See Server."""
        with self._connect() as connection:
            return str(connection.info.parameter_status("server_version")).split()[0]

    def prepare(self) -> None:
        """See Server."""
        password = self.folder / "password.txt"
        password.touch(mode=0o600)
        password.write_text(self.password)
        if _owner():
            for path in (self.folder, password):
                shutil.chown(path, _OWNER, _OWNER)
        made = subprocess.run(
            [
                *(f"{_programs()}/initdb", "--username", _USER, "--auth=scram-sha-256", "--no-sync"),
                *("--pwfile", str(password), "--encoding=UTF8", "--locale=C", "--pgdata", str(self.folder / "data")),
            ],
            user=_owner(),
            group=_owner(),
            extra_groups=None if _owner() is None else [],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise ValueError(made.stderr.strip())

    def launch(self) -> None:
        """See Server."""
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port("postgresql")),
            # What is written is in the kernel's cache, which outlives a kill -9 but no power cut.
            "fsync": "off",
            # A path may be too long for a socket.
            "unix_socket_directories": "",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [f"{_programs()}/postgres", "-D", str(self.folder / "data"), *options]
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        self.process.start(command, env={}, folder=self.folder, user=_owner())

    def check(self) -> None:
        """See Server."""
        self._connect().close()

    def urls(self) -> dict[str, str]:
        """See Server."""
        where = f"{_USER}:{self.password}@{HOST}:{self.port('postgresql')}"
        return {"POSTGRESQL_URL": f"postgresql+psycopg://{where}/postgres"}

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=HOST, port=self.port("postgresql"), user=_USER, password=self.password, dbname="postgres"
        )


def _programs() -> Path | None:
    """The folder of the newest version's programs: on Debian they are not on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


def _owner() -> str | None:
    return _OWNER if os.geteuid() == 0 else None
