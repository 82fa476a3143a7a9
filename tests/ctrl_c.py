"""Ctrl-C as a program at a terminal gets it, whatever this process was started by.

A shell starts what it puts into the background with SIGINT ignored, and a test runner may take
Python's handler away: then the signal would end the process, or do nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ctrl_c_interrupts() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt within the block."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
