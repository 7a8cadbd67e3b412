"""The least that could take an upload: reads a body in 1 MiB pieces, hashes it, writes it, syncs it, answers 202.

`python -m local.measure.peer PORT FILE` does so for one connection after the other, in one thread.
"""

import hashlib
import os
import re
import socket
import sys
from pathlib import Path
from typing import Final

from local.measure.processes import HOST

_PIECE_BYTES: Final = 1024 * 1024
_LENGTH: Final = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)
_HEALTHY: Final = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok\n"


def main(port: int, target: Path) -> None:
    """Serve until killed."""
    with socket.create_server((HOST, port)) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                connection.sendall(_take(connection, target))


def _take(connection: socket.socket, target: Path) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(_PIECE_BYTES)
        if not chunk:
            return b""
        received += chunk
    head, _, first = received.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    if length is None:
        return _HEALTHY
    left = int(length[1]) - len(first)
    digest = hashlib.sha256(first)
    with target.open("wb", buffering=0) as file:
        file.write(first)
        while left:
            piece = connection.recv(min(left, _PIECE_BYTES), socket.MSG_WAITALL)
            if not piece:
                return b""
            left -= len(piece)
            digest.update(piece)
            file.write(piece)
        os.fsync(file.fileno())
    return b"HTTP/1.1 202 Accepted\r\nConnection: close\r\n\r\n" + digest.hexdigest().encode()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
