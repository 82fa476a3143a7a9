"""A folder for files that are being made, gone whatever stops the work."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stage_folder() -> Iterator[Path]:
    """Make an empty folder and delete it afterwards.

    Ctrl-C and SIGTERM wait while it is made and while it is deleted: ``TemporaryDirectory``
    leaves the folder behind when one comes just then.
    """
    folder: Path | None = None
    try:
        with _signals_wait():
            folder = Path(tempfile.mkdtemp(prefix="edgekit-"))
        yield folder
    finally:
        if folder is not None:
            with _signals_wait():
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Hold the signals that stop a program back until the block is left.

    Handlers are exchanged, not masked: an engine's thread would take a masked signal, and
    Python would raise it in the main thread all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    before = {
        number: signal.signal(number, lambda *call: came.append(call)) for number in _STOPPING
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for received, frame in came[:1]:
        handler = before[signal.Signals(received)]
        if callable(handler):
            handler(received, frame)
        elif handler is not signal.SIG_IGN:
            os.kill(os.getpid(), received)
