"""MariaDB, which stands for MySQL."""

import os
import shutil
import subprocess
from typing import Any, ClassVar

import pymysql

from local.testservers.server import HOST, Server, ServerError

_USER = "video2mp3"


class MariaDB(Server):
    """A MariaDB server with one database and one user."""

    name = "mariadb"
    packages = ("mariadb-server",)
    ports: ClassVar = {"mysql": 20306}

    def is_installed(self) -> bool:
        """See Server."""
        return shutil.which("mariadbd", path=_PATH) is not None

    def version(self) -> str:
        """See Server."""
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            [version] = cursor.fetchone()
        return str(version)

    def prepare(self) -> None:
        """See Server."""
        make = ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
        made = subprocess.run(
            [*make, "--innodb-log-file-size=8M", *self._folders(), *_as_root()],
            env={"PATH": _PATH},
            check=False,
            capture_output=True,
            text=True,
        )
        if made.returncode:
            raise ServerError(f"{self.name} could not be set up:\n{made.stdout}{made.stderr}")
        first = self.folder / "first.sql"
        first.touch(mode=0o600)
        # Statements of this file are one per line.
        first.write_text(
            "CREATE DATABASE IF NOT EXISTS video2mp3;\n"
            f"CREATE USER IF NOT EXISTS '{_USER}'@'%' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO '{_USER}'@'%';\n"
            # Several hosts' root, none of them with a password.
            "DELETE FROM mysql.global_priv WHERE User IN ('root', '');\n"
            "FLUSH PRIVILEGES;\n"
        )

    def launch(self) -> None:
        """See Server."""
        command = [
            *("mariadbd", "--no-defaults", *_as_root()),
            *self._folders(),
            # In the abstract name space: a path may be too long for a socket.
            f"--socket=@video2mp3-{self.port('mysql')}",
            f"--pid-file={self.folder}/own.pid",
            f"--bind-address={HOST}",
            f"--port={self.port('mysql')}",
            f"--init-file={self.folder}/first.sql",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_bin",
            # A commit is in the kernel's cache, which outlives a kill -9 but no power cut; each test waits for many.
            "--innodb-flush-log-at-trx-commit=2",
        ]
        self.process.start(command, env={"PATH": _PATH}, folder=self.folder)

    def check(self) -> None:
        """See Server."""
        self._connect().close()

    def urls(self) -> dict[str, str]:
        """See Server."""
        where = f"{_USER}:{self.password}@{HOST}:{self.port('mysql')}"
        return {"MYSQL_URL": f"mysql+pymysql://{where}/video2mp3?charset=utf8mb4"}

    def _folders(self) -> list[str]:
        # A server that starts removes what looks like its own from the folder for temporary tables; in a shared one
        # that would be others'.
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        return [f"--datadir={self.folder}/data", f"--tmpdir={temporary}"]

    def _connect(self) -> "pymysql.Connection[Any]":
        return pymysql.connect(
            host=HOST, port=self.port("mysql"), user=_USER, password=self.password, database="video2mp3"
        )


_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/bin:/sbin:/bin"


def _as_root() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []
