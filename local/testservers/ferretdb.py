"""FerretDB on SQLite, which stands for MongoDB: the same protocol, without what its documentation lists as missing."""

from pathlib import Path
from typing import ClassVar

import pymongo

from local.testservers import golang
from local.testservers.server import HOST, Server

_MODULE = "github.com/FerretDB/FerretDB"
_VERSION = "v1.24.2"


class FerretDB(Server):
    """A FerretDB server without accounts."""

    name = "ferretdb"
    ports: ClassVar = {"mongodb": 20017}

    def is_installed(self) -> bool:
        """See Server."""
        return self._program.exists()

    def build(self) -> None:
        """See Server."""
        with golang.copied(_MODULE, _VERSION) as source:
            # Its build reads its own version from a file that only its release scripts write.
            (source / "build/version/version.txt").write_text(f"{_VERSION}\n")
            golang.build(source, "./cmd/ferretdb", self._program)

    def version(self) -> str:
        """See Server."""
        return _VERSION.removeprefix("v")

    def prepare(self) -> None:
        """See Server."""
        (self.folder / "data").mkdir()
        (self.folder / "state").mkdir()

    def launch(self) -> None:
        """See Server."""
        command = [
            *(str(self._program), "--handler=sqlite", f"--sqlite-url=file:{self.folder}/data/"),
            *(f"--state-dir={self.folder}/state", f"--listen-addr={HOST}:{self.port('mongodb')}"),
            *("--debug-addr=-", "--telemetry=disable", "--log-level=WARN"),
        ]
        self.process.start(command, env={}, folder=self.folder)

    def check(self) -> None:
        """See Server."""
        with pymongo.MongoClient[dict[str, object]](self.urls()["MONGODB_URL"], serverSelectionTimeoutMS=500) as client:
            client.admin.command("ping")

    def urls(self) -> dict[str, str]:
        """See Server."""
        return {"MONGODB_URL": f"mongodb://{HOST}:{self.port('mongodb')}/"}

    @property
    def _program(self) -> Path:
        return self.programs / f"ferretdb-{_VERSION}"
