"""Waiting for the signal that ends a program."""

import os
import signal


def stop_signals() -> int:
    """A descriptor that has something to read once SIGINT or SIGTERM came.

    An event that a handler sets would not do: the kernel may give the signal to any thread, and the main thread, whose
    part the handlers are, would sleep on.
    """
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return readable
