"""One builder at a time, across processes: a lock that ends with whoever holds it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_POLL_S = 0.2


@contextmanager
def locked(path: Path, *, waiting: Callable[[float], None] | None = None) -> Iterator[None]:
    """Hold the lock file; wait for whoever holds it.

    The system drops the lock with the process, so that a killed builder blocks nobody. The
    file itself stays: to delete it would let two processes lock two files of one name.

    Args:
        path: The lock file; made where it is not there.
        waiting: Told the seconds waited so far, while another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(descriptor, waiting)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, waiting: Callable[[float], None] | None) -> None:
    if sys.platform == "win32":
        return
    start = time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting(time.monotonic() - start)
            time.sleep(_POLL_S)
        else:
            return
