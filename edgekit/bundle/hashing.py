"""The hash of a file, read in pieces: models are larger than a board's memory.

A process hashes a file again only where it may have changed. Nothing of it outlives the
process: what another one has seen is no proof.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from pathlib import Path

State = tuple[str, int, int, int, int, int]
"""A file as the system tells it: path, device, number, size, times of content and of status."""

_CHUNK = 1 << 20
_MAX_KNOWN = 4096  # of a process that opens bundles all day
# Two changes within one tick of a file system's clock look alike, and FAT's ticks last 2 s.
_TICK_NS = 3_000_000_000

_known: dict[State, str] = {}


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256, hexadecimal."""
    before = state_of(path)
    found = known_sha256(before)
    if found is not None:
        return found
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    remember(path, before, digest.hexdigest())
    return digest.hexdigest()


def state_of(path: Path) -> State | None:
    """Return what changes whenever the file does; None where the system tells no such thing.

    The time of the status is in it because a program can set that of the content back.
    """
    if os.name != "posix":  # elsewhere that time is when the file was made
        return None
    try:
        status = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    times = status.st_mtime_ns, status.st_ctime_ns
    return str(path), status.st_dev, status.st_ino, status.st_size, *times


def known_sha256(state: State | None) -> str | None:
    """Return the SHA-256 of a file in this state, where this process has computed it."""
    return None if state is None else _known.get(state)


def remember(path: Path, before: State | None, sha256: str) -> None:
    """Keep what was computed, unless the file changed meanwhile or may look unchanged after.

    Args:
        path: The file.
        before: Its state before it was read.
        sha256: Of all that was read.
    """
    if before is None or state_of(path) != before:
        return
    age_ns = time.time_ns() - max(before[-2:])
    if age_ns < _TICK_NS:
        return
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    _known[before] = sha256
