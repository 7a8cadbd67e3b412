"""Everything that a store of blobs holds, which no function ever asks for."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

_DATABASES: Final = ("videos", "mp3s", "blobs")


def keys(blobs_url: str) -> list[str]:
    """The key of every blob, and a name for whatever is left of one that was not finished.

    Args:
        blobs_url: `file:///DIRECTORY` or `mongodb://...`, as the setting BLOBS_URL has it.
    """
    if blobs_url.startswith("file:"):
        folder = Path(unquote(urlsplit(blobs_url).path))
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return _in_mongodb(blobs_url)


def _in_mongodb(blobs_url: str) -> list[str]:
    from pymongo import MongoClient

    parts = urlsplit(blobs_url)
    prefix = parse_qs(parts.query).get("database_prefix", [""])[0]
    found: list[str] = []
    with MongoClient[dict[str, Any]](parts._replace(query="").geturl()) as client:
        for database in (client[f"{prefix}{name}"] for name in _DATABASES):
            names = {each["_id"]: each["filename"] for each in database["fs.files"].find({}, {"filename": 1})}
            found += names.values()
            found += [f"unfinished {each['_id']}" for each in database["fs.uploads"].find({}, {"_id": 1})]
            chunks = database["fs.chunks"].distinct("files_id")
            found += [f"chunks of {each}" for each in chunks if each not in names]
    return sorted(found)
