"""A folder for files that are being made, gone whatever stops the work."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stage_folder() -> Iterator[Path]:
    """Make an empty folder and delete it afterwards.

    Ctrl-C and SIGTERM wait while it is made and while it is deleted: ``TemporaryDirectory``
    leaves the folder behind when one comes just then.
    """
    _hold_signals(signal.SIG_BLOCK)
    folder = Path(tempfile.mkdtemp(prefix="edgekit-"))
    try:
        _hold_signals(signal.SIG_UNBLOCK)
        yield folder
    finally:
        _hold_signals(signal.SIG_BLOCK)
        shutil.rmtree(folder, ignore_errors=True)
        _hold_signals(signal.SIG_UNBLOCK)


def _hold_signals(how: int) -> None:
    if sys.platform != "win32":
        signal.pthread_sigmask(how, _STOPPING)
