"""`video2mp3 convert`: each file the whole way, in this process or on a server."""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from functions.common import logs
from local.cli.client import ApiError, Client
from local.cli.outputs import OutputError, Task, check, writing
from local.cli.progress import Bar, Bars, printable

#: How long Ctrl-C may wait to be heard.
_LOOK_SECONDS: Final = 0.2
#: Settings whose 0 stands for no limit; the quotas have none at home.
_LIMITS: Final = (
    *("MAX_UPLOAD_BYTES", "MAX_DURATION_SECONDS", "CONVERT_SECONDS", "DOWNLOAD_SECONDS"),
    *("REQUESTS_PER_MINUTE", "LOGINS_PER_MINUTE"),
)


class ConvertError(Exception):
    """One file did not become an MP3; the message is for people."""


def convert(
    tasks: Sequence[Task], *, client: Client, options: Mapping[str, str], force: bool, bars: Bars, at_once: int
) -> int:
    """Convert every file that can be; return how many could not."""
    stopping = threading.Event()

    def one(task: Task) -> bool:
        if stopping.is_set():
            return False
        bar = bars.add(task.source.name)
        try:
            _one(task, client, options, force=force, bar=bar, stopping=stopping)
        except (ConvertError, ApiError, OutputError, OSError) as error:
            bar.end("failed")
            bars.console.print(f"[red]✗[/red] {printable(task.source.name)}: {printable(str(error))}")
            return False
        return True

    with bars.shown(), ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(one, task) for task in tasks]
        try:
            # In steps: the kernel may give Ctrl-C to any thread, and a main thread that sleeps never hears of it.
            while wait(futures, _LOOK_SECONDS).not_done:
                pass
        except BaseException:
            stopping.set()
            raise
    return sum(not future.result() for future in futures)


def _one(
    task: Task, client: Client, options: Mapping[str, str], *, force: bool, bar: Bar, stopping: threading.Event
) -> None:
    check(task, force=force)
    size_bytes = task.source.stat().st_size or 1

    def sent(count: int) -> None:
        if stopping.is_set():
            raise ConvertError("The upload was stopped.")
        bar.uploaded(count / size_bytes)

    job = client.upload(task.source, options, sent)
    job = client.follow(job["id"], bar.job, stopping.is_set)
    if job["state"] != "succeeded":
        raise ConvertError(job["message"] or f"The job is {job['state']}.")
    with writing(task.target, force=force) as file:
        client.download(job, file, stopping.is_set)
    bar.end("done")
    minutes, seconds = divmod(round(job["duration_seconds"]), 60)
    without = f", without its {' and '.join(job['omitted'])}" if job.get("omitted") else ""
    size = f"{job['size_bytes'] / 1e6:.1f} MB"
    bar.tell(f"[green]✓[/green] {printable(task.target)}  {minutes}:{seconds:02} min, {size}{without}")


@contextmanager
def own_server(sources: Sequence[Path], folder: Path) -> Iterator[Client]:
    """A server in this process for the time of the block, with state that is gone afterwards and no limits."""
    from local.server.owner import owner_token
    from local.server.run import LocalServer
    from local.server.state import settings

    logs.setup("text", level="ERROR")
    with tempfile.TemporaryDirectory(prefix="video2mp3-", dir=_roomy(sources, folder)) as name:
        chosen = settings(Path(name), env={**dict.fromkeys(_LIMITS, "0"), **_tuning()})
        with LocalServer(chosen, Path(name), port=0, timeouts=False) as server:
            yield Client(server.url, owner_token(server.backends), near=True)


def _tuning() -> dict[str, str]:
    return {name: os.environ[name] for name in ("CONVERT_SLOTS", "LOG_FORMAT") if os.environ.get(name)}


def _roomy(sources: Sequence[Path], folder: Path) -> Path:
    """The system's folder for temporary files, unless the videos would fill it."""
    needed = sum(source.stat().st_size for source in sources if source.is_file())
    temporary = Path(tempfile.gettempdir())
    return temporary if shutil.disk_usage(temporary).free > 1.2 * needed + 100e6 else folder
