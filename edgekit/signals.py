"""Let Ctrl-C and SIGTERM wait while something is done that must not be left half done."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_wait() -> Iterator[None]:
    """Hold the signals that stop a program back until the block is left.

    Handlers are exchanged, not masked: an engine's thread would take a masked signal, and
    Python would raise it in the main thread all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    before: dict[signal.Signals, Any] = {}
    try:
        for number in _STOPPING:
            before[number] = signal.signal(number, lambda *call: came.append(call))
        yield
    finally:
        # Ctrl-C last, as it was taken first: none is lost or comes too early.
        for number in reversed(before):
            if before[number] is not None:  # Python has none any more where it ends already
                signal.signal(number, before[number])
    for received, frame in came[:1]:
        handler = before[signal.Signals(received)]
        if callable(handler):
            handler(received, frame)
        elif handler is not signal.SIG_IGN:
            os.kill(os.getpid(), received)
