"""Many short clips at once: from the uploads to the mails, beside as many bare ffmpegs as there are cores."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local.measure.figures import Bound, Figure, alone, compared, interleaved
from local.measure.home import Home
from local.measure.media import bare, make_video
from local.measure.processes import Server, free_port, head, without_walls

_CLIP_SECONDS: Final = 60
_MOST: Final = Bound(1.6)
_MOST_CPU: Final = Bound(1.3)
_PATIENCE_SECONDS: Final = 900.0


@dataclass(frozen=True)
class _Burst:
    wall_seconds: float
    #: None where the system does not tell.
    cpu_seconds: float | None


def measure(folder: Path, *, quick: bool, say: Callable[[str], None]) -> list[Figure]:
    """Compare.

    Args:
        folder: an empty folder to work in.
        quick: whether to see only that it works.
        say: told what is going on.
    """
    clips, repeats = (8, 1) if quick else (100, 3)
    clip = folder / "clip.mp4"
    make_video(clip, seconds=_CLIP_SECONDS)
    bare(clip, folder / "warm.mp3")
    env = without_walls(folder / "no-walls")
    pairs, cpus, overheads = [], [], []
    for ours, theirs in interleaved(
        repeats, lambda: _ours(clip, clips, folder, env), lambda: _bare(clip, clips, folder)
    ):
        pairs.append((ours.wall_seconds, theirs.wall_seconds))
        if ours.cpu_seconds is not None and theirs.cpu_seconds is not None:
            cpus.append((ours.cpu_seconds, theirs.cpu_seconds))
            overheads.append((ours.cpu_seconds - theirs.cpu_seconds) * 1000 / clips)
        say(f"burst {len(pairs)} of {repeats}: {ours.wall_seconds:.2f} s beside {theirs.wall_seconds:.2f} s")
    figures = [compared(f"burst of {clips} clips: wall", "s", pairs, _MOST)]
    if overheads:
        figures.append(compared(f"burst of {clips} clips: CPU", "s", cpus, _MOST_CPU))
        figures.append(alone("burst: CPU per job beyond ffmpeg", "ms", overheads))
    return figures


def _ours(clip: Path, clips: int, folder: Path, env: dict[str, str]) -> _Burst:
    home = Home(folder / "state")
    port = free_port()
    command = [str(Path(sys.executable).with_name("video2mp3")), "serve", "--port", str(port)]
    command += ["--state", str(home.directory)]
    try:
        with Server(command, port=port, log=folder / "log", env=env) as server:
            server.wait()
            return _burst(server, home, clip.read_bytes(), clips)
    finally:
        home.close()
        shutil.rmtree(home.directory)


def _burst(server: Server, home: Home, content: bytes, clips: int) -> _Burst:
    bearer = {"Authorization": f"Bearer {home.token}"}
    upload = head("POST", "/upload?filename=clip.mp4", {**bearer, "Content-Length": str(len(content))})
    cpu = server.cpu_seconds()
    began = time.perf_counter()
    with ThreadPoolExecutor(clips) as pool:
        for _ in pool.map(lambda _: server.expect(202, [upload, content]), range(clips)):
            pass
    while home.mails() < clips:
        if server.age() > _PATIENCE_SECONDS:
            raise RuntimeError(f"{home.mails()} of {clips} mails came:\n{server.log()}")
        time.sleep(0.01)
    wall = time.perf_counter() - began
    after = server.cpu_seconds()
    listed = json.loads(server.expect(200, [head("GET", "/jobs?limit=200", bearer)]))["jobs"]
    states = [job["state"] for job in listed]
    if states != ["succeeded"] * clips:
        raise RuntimeError(f"not every job succeeded: {states}")
    return _Burst(wall, None if cpu is None or after is None else after - cpu)


def _bare(clip: Path, clips: int, folder: Path) -> _Burst:
    began = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        costs = list(pool.map(lambda number: bare(clip, folder / f"{number}.mp3"), range(clips)))
    wall = time.perf_counter() - began
    for number in range(clips):
        (folder / f"{number}.mp3").unlink()
    return _Burst(wall, sum(cost.cpu_seconds for cost in costs))
