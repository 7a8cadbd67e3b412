"""The Versity gateway: S3 on a directory."""

from pathlib import Path
from typing import ClassVar, Final

import requests

from local.testservers import golang
from local.testservers.server import HOST, Server

_MODULE: Final = "github.com/versity/versitygw"
_VERSION: Final = "v1.8.0"
_USER: Final = "video2mp3"
_BUCKET: Final = "video2mp3"


class VersityGateway(Server):
    """An S3 server with one bucket."""

    name = "versitygw"
    ports: ClassVar = {"s3": 20900}

    def is_installed(self) -> bool:
        """See Server."""
        return self._program.exists()

    def build(self) -> None:
        """See Server."""
        with golang.copied(_MODULE, _VERSION) as source:
            golang.build(source, "./cmd/versitygw", self._program)

    def version(self) -> str:
        """See Server."""
        return _VERSION.removeprefix("v")

    def prepare(self) -> None:
        """See Server."""
        (self.folder / "data" / _BUCKET).mkdir(parents=True)

    def launch(self) -> None:
        """See Server."""
        address = f"{HOST}:{self.port('s3')}"
        command = [str(self._program), "--port", address, "--health", "/health", "--quiet", "posix", "data"]
        env = {"ROOT_ACCESS_KEY": _USER, "ROOT_SECRET_KEY": self.password}
        self.process.start(command, env=env, folder=self.folder)

    def check(self) -> None:
        """See Server."""
        requests.get(f"http://{HOST}:{self.port('s3')}/health", timeout=5).raise_for_status()

    def urls(self) -> dict[str, str]:
        """See Server."""
        return {
            "S3_URL": f"s3://{_BUCKET}",
            "AWS_ENDPOINT_URL": f"http://{HOST}:{self.port('s3')}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": _USER,
            "AWS_SECRET_ACCESS_KEY": self.password,
        }

    @property
    def _program(self) -> Path:
        return self.programs / f"versitygw-{_VERSION}"
