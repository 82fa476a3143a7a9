"""Lines that an engine's C++ code writes to stderr, past Python's own."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2
_lock = threading.Lock()


@contextmanager
def without_native_lines(*unwanted: str) -> Iterator[None]:
    """Hold back what is written to the process's stderr, then write it but for those lines.

    For one-time notices of an engine that has no switch for them. They would tear a
    command's progress line apart; everything else the engine says is kept.

    Args:
        unwanted: How a line to drop begins.
    """
    starts = tuple(line.encode() for line in unwanted)
    with _lock:
        try:
            saved = os.dup(_STDERR)
        except OSError:  # a daemon without stderr
            yield
            return
        with tempfile.TemporaryFile() as held:
            os.dup2(held.fileno(), _STDERR)
            try:
                yield
            finally:
                os.dup2(saved, _STDERR)
                os.close(saved)
                held.seek(0)
                for line in held:
                    if not line.startswith(starts):
                        os.write(_STDERR, line)
