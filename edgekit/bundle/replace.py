"""Putting a finished bundle in the place of an old one, so that a kill leaves one of them whole.

A bundle is built beside its final name, under ``.NAME.PID-RANDOM.tmp``, which its writer
keeps locked. A file replaces a file by rename. A folder cannot replace a folder that way,
so the two names are exchanged in one step (Linux, ``renameat2``). Where the system cannot
do that, the old one is first moved to ``.NAME.PID-RANDOM.old``: a kill right then leaves
nothing under the final name, and the next write moves it back before it starts.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_EXCHANGE = 2  # linux/fs.h
_CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)
_ATTEMPTS = 100  # each lost one means that another writer finished in between


@contextmanager
def reserve(final: Path, *, is_folder: bool) -> Iterator[Path]:
    """Make a new, locked file or folder beside the final name; it is gone afterwards.

    Args:
        final: Where the bundle will be.
        is_folder: What to make.

    Yields:
        Its path.
    """
    while True:
        temporary = _sibling(final, "tmp")
        if is_folder:
            temporary.mkdir()
        flags = os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT | os.O_EXCL
        try:
            descriptor = os.open(temporary, flags, 0o666)
        except FileNotFoundError:
            if not is_folder:
                raise
            continue  # A cleaner took the new folder for a leftover: once more.
        try:
            # A cleaner may have taken it for a leftover before it was locked: then once more.
            if _lock(descriptor) is False or not _is_same(descriptor, temporary):
                continue
            try:
                yield temporary
            finally:
                remove(temporary)
            return
        finally:
            os.close(descriptor)


def put(new: Path, final: Path) -> None:
    """Move a finished bundle to its final name; what was there is deleted.

    Raises:
        OSError: The system refused; the old bundle is still there.
    """
    for _ in range(_ATTEMPTS):
        try:
            if not os.path.lexists(final) or (new.is_file() and final.is_file()):
                new.replace(final)
            else:
                _swap(new, final)
        except OSError as error:
            # Another writer put or removed something in between.
            if error.errno in (
                errno.ENOENT,
                errno.EEXIST,
                errno.ENOTEMPTY,
                errno.ENOTDIR,
                errno.EISDIR,
            ):
                continue
            raise
        _sync_folder(final.parent)
        return
    raise OSError(errno.EBUSY, "other writers replaced it all the time", str(final))


def clean_leftovers(final: Path) -> None:
    """Undo what a killed writer of that name left behind: restore, then delete."""
    for moved in _siblings(final, "old"):
        if not os.path.lexists(final):
            with suppress(OSError):
                moved.rename(final)
        else:
            remove(moved)
    for leftover in _siblings(final, "tmp"):
        _remove_abandoned(leftover)


def interrupted_write(final: Path) -> str:
    """Return where a bundle is whose replacement was killed, for the error that misses it."""
    moved = _siblings(final, "old")
    if not moved:
        return ""
    return f"; a write of it was interrupted, and the bundle before it is {moved[0]}: rename it"


def remove(path: Path) -> None:
    """Delete a file or folder, if it is there; a link itself, not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()


def exchange(first: Path, second: Path) -> None:
    """Exchange two names in one step.

    Raises:
        OSError: One is missing, or the system cannot (errno ENOSYS, EINVAL, ENOTSUP, EPERM).
    """
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):  # glibc < 2.28, musl
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    names = os.fsencode(first), os.fsencode(second)
    if library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(second))


def _swap(new: Path, final: Path) -> None:
    try:
        exchange(new, final)  # the old one is now under the temporary name, which is deleted
    except OSError as error:
        if error.errno not in _CANNOT_EXCHANGE:
            raise
        _swap_in_two_steps(new, final)


def _swap_in_two_steps(new: Path, final: Path) -> None:
    old = _sibling(final, "old")
    final.rename(old)
    try:
        new.rename(final)
    except OSError:
        with suppress(OSError):
            old.rename(final)
        raise
    finally:
        if os.path.lexists(final):
            remove(old)


def _sibling(final: Path, kind: str) -> Path:
    return final.with_name(f".{final.name}.{os.getpid()}-{secrets.token_hex(4)}.{kind}")


def _siblings(final: Path, kind: str) -> list[Path]:
    pattern = re.compile(rf"\.{re.escape(final.name)}\.\d+-[0-9a-f]{{8}}\.{kind}")
    try:
        return sorted(path for path in final.parent.iterdir() if pattern.fullmatch(path.name))
    except OSError:
        return []


def _remove_abandoned(leftover: Path) -> None:
    try:
        descriptor = os.open(leftover, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return  # its writer has just finished
    try:
        if _lock(descriptor):  # nobody is writing it
            remove(leftover)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Return whether it is ours now; False: another holds it; None: nobody can know."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have no locks
        return None
    return True


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
