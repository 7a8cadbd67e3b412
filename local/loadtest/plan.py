"""What is going to be uploaded when and by whom, drawn by a seed; the generator reads it from a file."""

import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from local.loadtest.media import Clip

#: What owners ask for, each as likely as the others.
_OPTIONS: Final[tuple[dict[str, str], ...]] = ({}, {"bitrate": "128"}, {"channels": "1"})


@dataclass(frozen=True)
class Order:
    """One job that is going to be asked for."""

    number: int
    #: When it arrives, in seconds after the burst began.
    due_seconds: float
    clip: Clip
    #: Which of the accounts uploads it.
    account: int
    options: dict[str, str]
    #: The Idempotency-Key, so that what is sent again is one job all the same.
    key: str


def draw(
    offsets: Sequence[float], clips: Sequence[Clip], *, accounts: int, seed: int, various: bool = True
) -> list[Order]:
    """Say what each job is.

    Args:
        offsets: when each arrives, in seconds.
        clips: what there is to upload.
        accounts: how many accounts take turns.
        seed: of the draws, which begin anew with it.
        various: whether options differ, too.
    """
    chance = random.Random(f"plan {seed}")  # noqa: S311 - a test's choices, no secret
    run = os.urandom(6).hex()
    return [
        Order(
            number=number,
            due_seconds=offset,
            clip=chance.choice(clips),
            account=number % accounts,
            options=chance.choice(_OPTIONS) if various else {},
            key=f"burst-{run}-{number}",
        )
        for number, offset in enumerate(offsets)
    ]


def write(
    path: Path, *, url: str, host: str, tokens: Sequence[str], orders: Sequence[Order], patience_seconds: float
) -> None:
    """Write down what the generator has to know, for our eyes only, since tokens are in it.

    Args:
        path: where.
        url: the server's origin.
        host: the name that it has there, where the address is not it; empty for none.
        tokens: of the accounts.
        orders: the jobs.
        patience_seconds: how long one upload is tried again and again.
    """
    jobs: list[dict[str, Any]] = [
        {
            "number": order.number,
            "due": order.due_seconds,
            "path": str(order.clip.path),
            "token": tokens[order.account],
            "query": {**order.options, "filename": order.clip.path.name},
            "key": order.key,
        }
        for order in orders
    ]
    headers = {"Host": host} if host else {}
    text = json.dumps({"url": url, "headers": headers, "patience": patience_seconds, "jobs": jobs})
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
