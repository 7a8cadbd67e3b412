"""What a store holds, looked at while it changes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from functions.common.blobs.directory import DirectoryBlobs
from local.loadtest.stores import keys_below


def test_a_look_outlives_folders_that_vanish(tmp_path: Path) -> None:
    """A blob deleted while one looks takes its folder with it; every other blob is still seen."""
    blobs, done = DirectoryBlobs(tmp_path), Event()

    def store(key: str) -> None:
        with blobs.create(key) as writer:
            writer.commit()

    def come_and_go() -> None:
        while not done.is_set():
            for number in range(20):
                store(f"videos/{number}/1")
            for number in range(20):
                blobs.delete(f"videos/{number}/1")

    store("videos/kept/1")
    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(come_and_go)
        try:
            for _ in range(200):
                assert "videos/kept/1" in keys_below(tmp_path)
        finally:
            done.set()
        changing.result()
    assert keys_below(tmp_path) == ["videos/kept/1"]
