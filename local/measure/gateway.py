"""A gigabyte comes in through nginx: the one-process server behind the cluster's gateway, beside itself without."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from local.measure.figures import Bound, Figure, Pair, alone, compared, interleaved
from local.measure.home import Home
from local.measure.processes import HOST, Server, free_port
from local.measure.upload import Body, prime, raw, receive, server_command

_ROOT: Final = Path(__file__).parents[2]
_LEAST: Final = Bound(0.7, at_most=False)
_WARM: Final = 2
_MOST_MEBIBYTES: Final = Bound(16)


def measure(folder: Path, *, quick: bool, say: Callable[[str], None]) -> list[Figure]:
    """Compare throughput, and look at nginx's memory; needs twice the size on disk.

    Args:
        folder: an empty folder to work in.
        quick: whether to see only that it works.
        say: told what is going on.
    """
    if shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") is None:
        say("left out: nginx is not installed. local/services up does so.")
        return []
    mebibytes, repeats = (32, 2) if quick else (1024, 8)
    home = Home(folder / "state")
    port = free_port()
    parts = Body(raw, home.token, mebibytes)
    with (
        Server(server_command(port, home), port=port, log=folder / "log") as direct,
        nginx(folder, upstream=port) as gateway,
    ):

        def upload(server: Server) -> float:
            prime(folder / "prime", parts)
            return receive(server, parts, home)

        direct.wait()
        gateway.wait()
        # What a first upload loads is not measured.
        for _ in range(_WARM):
            upload(gateway)
            upload(direct)
        pairs: list[Pair] = []
        held = 0.0
        for one, other in interleaved(repeats, lambda: upload(gateway), lambda: upload(direct)):
            pairs.append((mebibytes / one, mebibytes / other))
            held = max(held, _held_mebibytes(gateway))
            say(f"pair {len(pairs)} of {repeats}: {one:.2f} s through nginx beside {other:.2f} s")
        figures = [compared(f"upload {mebibytes} MiB through nginx", "MiB/s", pairs, _LEAST)]
        if held:
            figures.append(alone("nginx: memory of master and worker", "MiB", [held], _MOST_MEBIBYTES))
    home.close()
    return figures


def _held_mebibytes(gateway: Server) -> float:
    """What master and worker hold, pages that both map counted once (proc(5), Pss); 0 where the system does not tell.

    nginx keeps what it once needed for a request's buffers, so a look after each upload finds the most.
    """
    with suppress(OSError):
        pids = [gateway.pid, *gateway.children()]
        lines = [line for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return 0.0


@contextmanager
def nginx(folder: Path, *, upstream: int) -> Iterator[Server]:
    """The gateway in front of a server on this machine.

    Args:
        folder: where it writes.
        upstream: that server's port.
    """
    port = free_port()
    env = {
        "PORT": str(port),
        "HOST": HOST,
        "UPSTREAM": f"http://{HOST}:{upstream}",
        "GATEWAY_DIR": str(folder / "nginx"),
        "PAGE_DIR": str(_ROOT / "functions/web/static"),
    }
    with Server([str(_ROOT / "knative/gateway/start")], port=port, log=folder / "nginx.log", env=env) as server:
        yield server
