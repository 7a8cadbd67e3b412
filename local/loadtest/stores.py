"""Everything that a store of blobs holds, which no function ever asks for."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from obstore.store import S3Store


def keys(settings: Mapping[str, str]) -> list[str]:
    """The key of every blob, and of whatever is left in a directory of one that was not finished.

    Args:
        settings: `BLOBS_URL` as `file:///DIRECTORY` or `s3://BUCKET/PREFIX`, with the `AWS_...` that belong to it.
    """
    if settings["BLOBS_URL"].startswith("file:"):
        folder = Path(unquote(urlsplit(settings["BLOBS_URL"]).path))
        return keys_below(folder)
    return _objects(_bucket(settings))


def keys_below(folder: Path) -> list[str]:
    """The same of one directory, which may change meanwhile: `Path.rglob` fails where a folder vanishes under it."""
    found = (Path(path, name) for path, _, names in os.walk(folder) for name in names)
    return sorted(path.relative_to(folder).as_posix() for path in found)


def empty(settings: Mapping[str, str]) -> None:
    """Delete every object below the prefix of such settings."""
    import obstore

    store = _bucket(settings)
    for key in _objects(store):
        obstore.delete(store, key)


def _objects(store: "S3Store") -> list[str]:
    import obstore

    return sorted(found["path"] for batch in obstore.list(store) for found in batch)


def _bucket(settings: Mapping[str, str]) -> "S3Store":
    from obstore.store import S3Store

    parts = urlsplit(settings["BLOBS_URL"])
    return S3Store(
        parts.netloc,
        prefix=parts.path.strip("/"),
        endpoint=settings["AWS_ENDPOINT_URL"],
        region=settings["AWS_REGION"],
        access_key_id=settings["AWS_ACCESS_KEY_ID"],
        secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
        client_options={"allow_http": True},
    )
