"""The bytes of a bundle, in a folder or in a zip file; nothing here trusts what it reads."""

from __future__ import annotations

import itertools
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from edgekit.bundle.check import check_limit
from edgekit.bundle.limits import CHUNK_BYTES, MAX_FILES
from edgekit.bundle.paths import check_path, check_unique
from edgekit.errors import BundleError, BundleIntegrityError, UnsafeBundleError

# Absent on Windows, where a name with these meanings does not exist either.
_PLAIN_FILE = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO would wait for a writer
    | getattr(os, "O_BINARY", 0)
)


class Store(ABC):
    """Files by path.

    Args:
        location: The folder or zip file.
    """

    def __init__(self, location: Path) -> None:
        self.location = location

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of every file, by path.

        Raises:
            UnsafeBundleError: There is something else than plain files with plain names.
            BundleFormatError: The zip file is damaged.
        """

    @abstractmethod
    def chunks(self, path: str, *, limit: int) -> Iterator[bytes]:
        """Yield a file piece by piece, and never more than one byte over the limit.

        Args:
            path: As ``sizes`` has it.
            limit: Bytes that the file should have; one more shows that it has more.

        Raises:
            BundleIntegrityError: It is missing.
            BundleFormatError: The zip file is damaged.
        """

    @abstractmethod
    def path(self, path: str) -> Path | None:
        """Return the file on disk; None where it lies inside a zip."""

    def missing(self, path: str) -> BundleIntegrityError:
        """Return the error for a file that is not there."""
        return BundleIntegrityError(
            f"{self.location} lacks its file {path!r}; copy the bundle again or convert the "
            "model again"
        )


class FolderStore(Store):
    """A bundle that is a folder. Links inside it are refused: they may lead anywhere."""

    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of every file, by path."""
        found: dict[str, int] = {}
        waiting = [""]
        seen = 0
        while waiting:
            parent = waiting.pop()
            entries = self._list(parent)
            seen += len(entries)
            check_limit(
                seen, 2 * MAX_FILES, what=f"the number of files and folders in {self.location}"
            )
            for name, status in entries:
                path = check_path(f"{parent}/{name}" if parent else name)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(path)
                elif stat.S_ISREG(status.st_mode):
                    found[path] = status.st_size
                else:
                    raise self._odd(path)
        check_unique(found)
        return found

    def chunks(self, path: str, *, limit: int) -> Iterator[bytes]:
        """Yield a file piece by piece, and never more than one byte over the limit."""
        try:
            # A folder on the way may have become a link since it was listed.
            if not (self.location / path).resolve().is_relative_to(self.location.resolve()):
                raise self._odd(path)
            descriptor = os.open(self.location / path, _PLAIN_FILE)
        except FileNotFoundError:
            raise self.missing(path) from None
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, Python < 3.13
            raise BundleError(f"{path!r} of {self.location} cannot be read: {error}") from error
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self._odd(path)
            left = limit + 1
            while left and (piece := file.read(min(left, CHUNK_BYTES))):
                left -= len(piece)
                yield piece

    def path(self, path: str) -> Path:
        """Return the file on disk."""
        return self.location / path

    def _list(self, folder: str) -> list[tuple[str, os.stat_result]]:
        try:
            with os.scandir(self.location / folder) as entries:
                # One more than the limit shows that it is passed, however many there are.
                some = itertools.islice(entries, 2 * MAX_FILES + 1)
                return sorted((item.name, item.stat(follow_symlinks=False)) for item in some)
        except OSError as error:
            raise BundleError(f"{self.location} cannot be read: {error}") from error

    def _odd(self, path: str) -> UnsafeBundleError:
        return UnsafeBundleError(
            f"{path!r} in {self.location} is a link or device; a bundle holds plain files only: "
            "copy the bundle with its links followed (cp -rL)"
        )
