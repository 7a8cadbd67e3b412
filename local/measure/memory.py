"""The most memory that a function needs for a large job, on a real database and a real store."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine, make_url, text

from functions.common import events
from functions.common.database import migrate
from local.measure.figures import Bound, Figure, alone
from local.measure.home import Home
from local.measure.media import make_video
from local.measure.processes import Server, head
from local.measure.start import function_command
from local.testservers.fleet import Fleet

_MIB: Final = 1024 * 1024
_MOST_MEBIBYTES: Final = Bound(64)
_FUNCTIONS: Final = ("upload", "convert", "download")
_NEEDED: Final = ("MYSQL_URL", "S3_URL")


def measure(folder: Path, *, quick: bool, say: Callable[[str], None]) -> list[Figure]:
    """Send a small job and then a large one through processes of their own; what the large one took beside idle.

    Args:
        folder: an empty folder to work in; needs three times the size.
        quick: whether to see only that it works.
        say: told what is going on.
    """
    urls = Fleet().urls()
    missing = [name for name in _NEEDED if name not in urls]
    if missing:
        say(f"left out: the servers of {' and '.join(missing)} do not run. local/services up starts them.")
        return []
    small, large = folder / "small.mp4", folder / "large.mp4"
    make_video(small, seconds=2)
    make_video(large, seconds=10 if quick else 1800)
    _pad(large, (16 if quick else 1024) * _MIB)
    aws = {name: value for name, value in urls.items() if name.startswith("AWS_")}
    with ExitStack() as stack:
        database = stack.enter_context(_database(urls["MYSQL_URL"]))
        blobs_url = f"{urls['S3_URL']}/benchmark-{secrets.token_hex(8)}"
        home = Home(folder / "state", env={"DATABASE_URL": database, "BLOBS_URL": blobs_url, **aws})
        stack.callback(home.close)
        servers = {}
        for function in _FUNCTIONS:
            command = function_command(function, home)
            server = Server(
                command.argv, port=command.port, log=folder / function, env=command.env, folder=command.folder
            )
            servers[function] = stack.enter_context(server)
            server.wait()
        job_ids = [_whole_way(servers, home, small)]
        # Its clients are loaded and connected.
        idle = {name: server.worker_bytes("VmRSS") for name, server in servers.items()}
        say("the small job is done; the large one begins")
        job_ids.append(_whole_way(servers, home, large))
        figures = [
            alone(
                f"memory of {name} over idle, {large.stat().st_size // _MIB} MiB",
                "MiB",
                [(server.worker_bytes("VmHWM") - idle[name]) / _MIB],
                _MOST_MEBIBYTES,
            )
            for name, server in servers.items()
        ]
        for job_id in job_ids:
            home.remove(job_id)
    return figures


def _whole_way(servers: dict[str, Server], home: Home, video: Path) -> str:
    """Upload, convert and download; the job's id."""
    bearer = {"Authorization": f"Bearer {home.token}"}
    announced = {**bearer, "Content-Length": str(video.stat().st_size), "Content-Type": "application/octet-stream"}

    def parts() -> Iterator[bytes]:
        yield head("POST", f"/upload?filename={video.name}", announced)
        with video.open("rb") as file:
            while piece := file.read(_MIB):
                yield piece

    job_id: str = json.loads(servers["upload"].expect(202, parts()))["id"]
    headers, body = events.encode(events.make(events.UPLOADED, job_id=job_id, run=1))
    servers["convert"].expect(200, [head("POST", "/", {**headers, "Content-Length": str(len(body))}), body])
    servers["download"].expect(200, [head("GET", f"/download?fid={job_id}", bearer)])
    return job_id


def _pad(path: Path, size_bytes: int) -> None:
    """Make an MP4 larger by a box that every reader skips (ISO/IEC 14496-12, section 8.1.2)."""
    room = size_bytes - path.stat().st_size
    if room < 16:
        return
    with path.open("ab") as file:
        file.write((1).to_bytes(4, "big") + b"free" + room.to_bytes(8, "big"))
        file.truncate(size_bytes)


@contextmanager
def _database(url: str) -> Iterator[str]:
    """The URL of a database with our tables, which is gone afterwards."""
    server = make_url(url)
    name = f"benchmark_{secrets.token_hex(8)}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            made = server.set(database=name).render_as_string(hide_password=False)
            migrate(made)
            yield made
        finally:
            connection.execute(text(f"DROP DATABASE {name}"))
    engine.dispose()
