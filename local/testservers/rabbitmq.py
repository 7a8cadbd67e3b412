"""RabbitMQ, with its management API."""

import os
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import quote

import requests

from local.testservers.process import Process
from local.testservers.server import HOST, Server

#: The program of this name on PATH would change the user; this one runs as anybody.
_PROGRAM: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_USER: Final = "video2mp3"
#: A consumer may hold a message as long as the slowest conversion with all its retries (docs/operate.md).
_CONSUMER_TIMEOUT_MS: Final = 7 * 24 * 3600 * 1000


class RabbitMQ(Server):
    """One node of RabbitMQ and its port mapper."""

    name = "rabbitmq"
    packages = ("rabbitmq-server",)
    ports: ClassVar = {"amqp": 20672, "management": 20673, "distribution": 20674, "epmd": 20675}

    def __init__(self, folder: Path, programs: Path) -> None:
        super().__init__(folder, programs)
        self._epmd = Process(folder, "epmd")

    def is_installed(self) -> bool:
        """See Server."""
        return _PROGRAM.exists()

    def version(self) -> str:
        """See Server."""
        return str(self.ask("GET", "/api/overview").json()["rabbitmq_version"])

    def prepare(self) -> None:
        """See Server."""
        self._write(
            "rabbitmq.conf",
            f"listeners.tcp.1 = {HOST}:{self.port('amqp')}",
            f"management.tcp.ip = {HOST}",
            f"management.tcp.port = {self.port('management')}",
            f"consumer_timeout = {_CONSUMER_TIMEOUT_MS}",
            f"default_user = {_USER}",
            f"default_pass = {self.password}",
            "vm_memory_high_watermark.absolute = 512MB",
            "disk_free_limit.absolute = 50MB",
        )
        self._write("enabled_plugins", "[rabbitmq_management].")

    def launch(self) -> None:
        """See Server."""
        if self._epmd.found is None:
            # A node that finds no port mapper starts one that nobody would stop.
            port = str(self.port("epmd"))
            self._epmd.start(["epmd", "-address", HOST, "-port", port], env={}, folder=self.folder)
        self.process.start([str(_PROGRAM)], env=self._env(), folder=self.folder)

    def check(self) -> None:
        """See Server."""
        self.ask("GET", "/api/health/checks/virtual-hosts").raise_for_status()

    def urls(self) -> dict[str, str]:
        """See Server."""
        return {
            "AMQP_URL": f"amqp://{_USER}:{quote(self.password)}@{HOST}:{self.port('amqp')}/%2F",
            "RABBITMQ_MANAGEMENT_URL": f"http://{_USER}:{quote(self.password)}@{HOST}:{self.port('management')}",
        }

    def ask(self, method: str, path: str) -> requests.Response:
        """Ask the management API."""
        url = f"http://{HOST}:{self.port('management')}{path}"
        return requests.request(method, url, auth=(_USER, self.password), timeout=10)

    def stop(self) -> None:
        """See Server; there is nothing to be saved, so it is not asked first."""
        self.process.kill()
        self._epmd.kill()
        super().stop()

    def _write(self, name: str, *lines: str) -> None:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n")

    def _env(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "HOME": folder,  # its cookie lies there
            "ERL_EPMD_PORT": str(self.port("epmd")),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": f"video2mp3-{self.port('amqp')}@localhost",
            "RABBITMQ_DIST_PORT": str(self.port("distribution")),
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            # These two have the script become Erlang, so that the pid is the node's.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput -kernel inet_dist_use_interface {127,0,0,1}",
        }
