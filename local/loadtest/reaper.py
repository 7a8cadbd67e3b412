"""Starts a program and waits for all that it leaves behind; `python -m local.loadtest.reaper COMMAND...` (Linux).

bubblewrap does not wait for the process that it started last, so the processor time of an ffmpeg behind its walls is in
no counter of the server. An orphan goes to its next ancestor that asked for orphans (prctl(2), PR_SET_CHILD_SUBREAPER).
That is this program, whose own counters then hold it. It ends with the program, and the program with its input.
"""

import ctypes
import os
import signal
import sys
import threading
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36


def main() -> int:
    """Run the command; its exit code."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_CLOSE, 0)])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: os.kill(child, got))
    threading.Thread(target=_end_with_input, args=(child,), daemon=True).start()
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _end_with_input(child: int) -> None:
    """Whoever started us holds the other end, and cannot die without letting go of it."""
    while os.read(0, 1):
        pass
    os.kill(child, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
