"""The message of the other system's two queues: `{"video_fid": ..., "mp3_fid": ..., "username": ...}`.

One that asks for a conversion may also have `options`, an object of them (functions.common.options).
"""

import json
import re
from dataclasses import dataclass
from typing import Final

from functions.common.accounts import normalise
from functions.common.errors import Invalid
from functions.common.options import Options, parse

_OBJECT_ID: Final = re.compile(r"[0-9a-fA-F]{24}\Z")
#: As long as the table's column.
_LONGEST_USERNAME: Final = 320


class NoMessage(ValueError):
    """What arrived is no such message; sending it again cannot help."""


@dataclass(frozen=True)
class Message:
    """What the other system asks for."""

    #: `_id` of the video in its GridFS, 24 digits in lower-case hex.
    video_fid: str
    #: Its user, spelled as it spells it.
    username: str
    #: The same as an address of ours.
    address: str
    #: How to convert.
    options: Options


def read(data: object) -> Message:
    """Read a message from the data of an event, whatever type its sender declared.

    Args:
        data: parsed JSON, or text or bytes that hold it.

    Raises:
        NoMessage: it is none; the error does not repeat it.
    """
    if isinstance(data, str | bytes):
        try:
            data = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise NoMessage("it is no JSON") from error
    if not isinstance(data, dict):
        raise NoMessage("it is no JSON object")
    video_fid, username = data.get("video_fid"), data.get("username")
    if not isinstance(video_fid, str) or not _OBJECT_ID.match(video_fid):
        raise NoMessage("its video_fid is no ObjectId")
    if not isinstance(username, str) or len(username) > _LONGEST_USERNAME:
        raise NoMessage("its username is no address")
    try:
        address = normalise(username)
    except Invalid as error:
        raise NoMessage("its username is no address") from error
    return Message(video_fid.lower(), username, address, _options(data.get("options")))


def _options(given: object) -> Options:
    """Options by their names, as text or as JSON's own types: 128 for "128", true for "yes"."""
    if given is None:
        return Options()
    if not isinstance(given, dict) or not all(isinstance(value, str | int | float) for value in given.values()):
        raise NoMessage("its options are no object of texts, numbers, true and false")
    spelled = {True: "yes", False: "no"}
    texts = {name: spelled[value] if isinstance(value, bool) else str(value) for name, value in given.items()}
    try:
        return parse(texts)
    except Invalid as error:
        raise NoMessage(error.detail) from error


def answer(*, video_fid: str, mp3_fid: str, username: str) -> bytes:
    """The message that tells the other system where the MP3 is."""
    return json.dumps({"video_fid": video_fid, "mp3_fid": mp3_fid, "username": username}).encode()
