"""A gigabyte comes in: the one-process server beside a socket, a hash and a file."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from local.measure.figures import Bound, Figure, Pair, alone, compared, interleaved
from local.measure.home import Home
from local.measure.processes import Server, free_port, head

_MIB: Final = 1024 * 1024
_BOUNDARY: Final = "----video2mp3-benchmark"
_LEAST: Final = Bound(0.75, at_most=False)
_WARM: Final = 2
_MOST_MEGABYTES: Final = Bound(100)
_ENDED: Final = ("succeeded", "failed")


def measure(folder: Path, *, quick: bool, say: Callable[[str], None]) -> list[Figure]:
    """Compare throughput, and look at the server's memory; needs twice the size on disk.

    Args:
        folder: an empty folder to work in.
        quick: whether to see only that it works.
        say: told what is going on.
    """
    mebibytes, repeats = (32, 2) if quick else (1024, 8)
    home = Home(folder / "state")
    ours, theirs = free_port(), free_port()
    stored = folder / "stored"
    peer = [sys.executable, "-P", "-m", "local.measure.peer", str(theirs), str(stored)]
    figures = []
    with (
        Server(server_command(ours, home), port=ours, log=folder / "log") as server,
        Server(peer, port=theirs, log=folder / "log-2") as bare,
    ):
        server.wait()
        bare.wait()
        for kind in (raw, multipart):
            parts = Body(kind, home.token, mebibytes)

            def ours_takes(parts: Body = parts) -> float:
                prime(folder / "prime", parts)
                return receive(server, parts, home)

            def take(parts: Body = parts) -> float:
                prime(folder / "prime", parts)
                seconds = _seconds(bare, parts)[0]
                stored.unlink()
                return seconds

            # What a first upload loads, and what the host has to be asked for, is not measured.
            for _ in range(_WARM):
                ours_takes()
                take()
            pairs: list[Pair] = []
            for one, other in interleaved(repeats, ours_takes, take):
                pairs.append((mebibytes / one, mebibytes / other))
                say(f"{kind.__name__}, pair {len(pairs)} of {repeats}: {one:.2f} s beside {other:.2f} s")
            figures.append(compared(f"upload {mebibytes} MiB: {kind.__name__}", "MiB/s", pairs, _LEAST))
        peak = server.peak_bytes()
    home.close()
    if peak is not None:
        figures.append(alone("upload: peak memory", "MB", [peak / 1e6], _MOST_MEGABYTES))
    return figures


class Body:
    """A request that can be sent again and again.

    Args:
        wrap: gives path, content type, and what stands before and after the file.
        token: of the account that uploads.
        mebibytes: size of the file.
    """

    def __init__(self, wrap: Callable[[], tuple[str, str, bytes, bytes]], token: str, mebibytes: int) -> None:
        path, content_type, before, after = wrap()
        size_bytes = mebibytes * _MIB
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": content_type,
            "Content-Length": str(len(before) + size_bytes + len(after)),
        }
        self._first = head("POST", path, headers) + before
        self._boxes = boxes(size_bytes)
        self._piece = os.urandom(_MIB)
        self._mebibytes = mebibytes
        self._last = after

    def __iter__(self) -> Iterator[bytes]:
        yield self._first
        yield self._boxes + self._piece[len(self._boxes) :]
        for _ in range(self._mebibytes - 1):
            yield self._piece
        if self._last:
            yield self._last


def raw() -> tuple[str, str, bytes, bytes]:
    """The body is the file."""
    return "/upload?filename=large.mp4", "application/octet-stream", b"", b""


def multipart() -> tuple[str, str, bytes, bytes]:
    """The body is a form with the file (RFC 7578)."""
    before = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="large.mp4"\r\n'
        "Content-Type: video/mp4\r\n\r\n"
    )
    return "/upload", f"multipart/form-data; boundary={_BOUNDARY}", before.encode(), f"\r\n--{_BOUNDARY}--\r\n".encode()


def boxes(size_bytes: int) -> bytes:
    """How an MP4 of this size begins that has data and no index, which ffmpeg gives up at once (ISO/IEC 14496-12)."""
    kind = b"\x00\x00\x00\x14ftypisom\x00\x00\x02\x00isom"
    return kind + (1).to_bytes(4, "big") + b"mdat" + (size_bytes - len(kind)).to_bytes(8, "big")


def prime(path: Path, parts: Body) -> None:
    """Fill as much page cache as an upload will, and free it.

    A virtual machine gives free memory back to its host within seconds and pays for getting it again; the side that
    comes first in a pair would pay for both.
    """
    with path.open("wb", buffering=0) as file:
        for part in parts:
            file.write(part)
    path.unlink()


def _seconds(server: Server, parts: Body) -> tuple[float, bytes]:
    began = time.perf_counter()
    body = server.expect(202, parts)
    return time.perf_counter() - began, body


def server_command(port: int, home: Home) -> list[str]:
    """How the one-process server is started on a state directory."""
    video2mp3 = str(Path(sys.executable).with_name("video2mp3"))
    return [video2mp3, "serve", "--port", str(port), "--state", str(home.directory)]


def receive(server: Server, parts: Body, home: Home) -> float:
    """Upload, then wait until the job is over and take it away: only the upload is measured."""
    seconds, body = _seconds(server, parts)
    job_id = json.loads(body)["id"]
    while (job := home.backends.jobs.get(job_id)) is None or job.state not in _ENDED:
        time.sleep(0.02)
    server.expect(204, [head("DELETE", f"/jobs/{job_id}", {"Authorization": f"Bearer {home.token}"})])
    return seconds
