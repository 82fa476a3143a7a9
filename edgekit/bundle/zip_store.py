"""A bundle that is one zip file."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from edgekit.bundle.check import check_limit
from edgekit.bundle.limits import CHUNK_BYTES, MAX_DIRECTORY_BYTES, MAX_FILES, MAX_RATIO, MIB
from edgekit.bundle.paths import check_path, check_unique, parents_of
from edgekit.bundle.store import Store
from edgekit.errors import BundleError, BundleFormatError, UnsafeBundleError

# What the zipfile module lets through where structures or streams are malformed.
_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,  # a zip feature that it lacks
    RuntimeError,  # encrypted
    ValueError,  # a negative offset, a name that is no UTF-8
    OverflowError,
)
_ENCRYPTED = 0x1  # General purpose bit 0. Source: PKWARE APPNOTE 6.3.10, section 4.4.4.


class ZipStore(Store):
    """Files stored, or at most deflated: other methods unpack without a bound on memory."""

    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of every file, by path."""
        with self._opened() as archive:
            entries = archive.infolist()
        check_limit(len(entries), 2 * MAX_FILES, what=f"the number of entries in {self.location}")
        folders = [entry for entry in entries if entry.orig_filename.endswith("/")]
        files = [entry for entry in entries if not entry.orig_filename.endswith("/")]
        for entry in files:
            self._check_entry(entry)
        names = [entry.orig_filename for entry in files]
        check_unique(names)
        parents = {parent for name in names for parent in parents_of(name)}
        for folder in folders:
            if folder.file_size or check_path(folder.orig_filename[:-1]) not in parents:
                raise self._unsafe(folder, "is a folder without files")
        return {entry.orig_filename: entry.file_size for entry in files}

    def chunks(self, path: str, *, limit: int) -> Iterator[bytes]:
        """Yield a file piece by piece, and never more than one byte over the limit."""
        with self._opened() as archive:
            entry = archive.NameToInfo.get(path)
            if entry is None:
                raise self.missing(path)
            with _open_entry(archive, entry) as file:
                left = limit + 1
                while left and (piece := file.read(min(left, CHUNK_BYTES))):
                    left -= len(piece)
                    yield piece

    def path(self, path: str) -> Path | None:
        """Return None: the file lies inside the zip."""
        del path
        return None

    def _check_entry(self, entry: zipfile.ZipInfo) -> None:
        check_path(entry.orig_filename)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise self._unsafe(entry, "is a link or device")
        if entry.flag_bits & _ENCRYPTED:
            raise self._unsafe(entry, "is encrypted")
        if entry.compress_type == zipfile.ZIP_STORED:
            if entry.compress_size != entry.file_size:
                raise self._unsafe(entry, "is stored with two different sizes")
        elif entry.compress_type != zipfile.ZIP_DEFLATED:
            raise self._unsafe(entry, f"is compressed with method {entry.compress_type}")
        elif entry.file_size > max(MIB, MAX_RATIO * entry.compress_size):
            raise self._unsafe(entry, f"would grow over {MAX_RATIO} times, like a zip bomb")

    def _unsafe(self, entry: zipfile.ZipInfo, what: str) -> UnsafeBundleError:
        return UnsafeBundleError(
            f"{entry.orig_filename[:80]!r} in {self.location} {what}; a bundle holds plain files, "
            "stored: do not use one from a source that you do not trust"
        )

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        try:
            with self.location.open("rb") as file:
                yield zipfile.ZipFile(_BoundedReads(file))
        except FileNotFoundError:
            raise BundleError(f"{self.location} is gone since it was opened") from None
        except _FAULTS as error:
            raise BundleFormatError(
                f"{self.location} is not a bundle, or is damaged or cut off ({error}); copy it "
                "again or convert the model again"
            ) from error
        except OSError as error:
            raise BundleError(f"{self.location} cannot be read: {error}") from error


def _open_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> IO[bytes] | _StoredEntry:
    if entry.compress_type == zipfile.ZIP_STORED and archive.fp is not None:
        return _StoredEntry(archive.fp, entry)
    return archive.open(entry)


class _StoredEntry:
    """A stored entry, read as it lies there.

    The zip module would check its CRC-32 too, and fail there without the two SHA-256 that
    tell what is wrong; the caller checks the stronger one.
    """

    def __init__(self, file: IO[bytes], entry: zipfile.ZipInfo) -> None:
        file.seek(entry.header_offset)
        # Source: PKWARE APPNOTE 6.3.10, section 4.3.7: signature, 22 bytes, lengths of name, extra.
        signature, name_length, extra_length = struct.unpack("<4s22xHH", file.read(30))
        if signature != b"PK\x03\x04" or file.read(name_length) != entry.orig_filename.encode():
            raise zipfile.BadZipFile(f"the directory and the entry {entry.filename!r} disagree")
        file.seek(extra_length, os.SEEK_CUR)
        self._file = file
        self._left = entry.file_size

    def __enter__(self) -> _StoredEntry:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        if not data and self._left and size:
            raise EOFError("the file ends within an entry")
        self._left -= len(data)
        return data


class _BoundedReads:
    """A file that refuses one large read.

    The zip module reads the whole directory at once, as long as the file says it is, and
    makes an object of each entry: that is the moment to stop. Contents are read in chunks.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell
        self.close = file.close
        self.seekable = file.seekable

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(
            MAX_DIRECTORY_BYTES + 1 if size < 0 else min(size, MAX_DIRECTORY_BYTES + 1)
        )
        check_limit(len(data), MAX_DIRECTORY_BYTES, what="the size of the zip directory")
        return data
