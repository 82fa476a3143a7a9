"""Writing a bundle: whole or not at all."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from edgekit.bundle.check import check_limit
from edgekit.bundle.limits import CHUNK_BYTES, MANIFEST_NAME, MAX_FILES, MAX_MANIFEST_BYTES
from edgekit.bundle.manifest import Manifest
from edgekit.bundle.opening import is_bundle
from edgekit.bundle.paths import check_path, check_unique
from edgekit.bundle.reader import Bundle
from edgekit.bundle.records import FileRecord
from edgekit.bundle.replace import clean_leftovers, put, reserve
from edgekit.errors import BundleError, BundleFormatError

Content = bytes | Path
"""Of a file: as it is, or a file on disk that is copied."""

# The first moment that a zip file can name, so that equal contents give equal bytes.
# Source: PKWARE APPNOTE 6.3.10, section 4.4.6 (MS-DOS dates begin in 1980).
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def write_bundle(
    path: str | Path, manifest: Manifest, files: Mapping[str, Content], *, folder: bool = False
) -> Bundle:
    """Write a bundle and open it. A kill leaves the bundle that was there, or the new one.

    Args:
        path: Its final place; an older bundle there is replaced.
        manifest: What it says; its ``files`` are filled here.
        files: Content by path within the bundle. A Path is copied piece by piece.
        folder: Whether to write a folder instead of one zip file.

    Raises:
        BundleError: Something else than a bundle is there, or the disk fails.
        BundleFormatError: The manifest contradicts itself or names a file that is not given.
        UnsafeBundleError: A path is not allowed, or the bundle is over the limits.
    """
    # Replace what a link leads to, not the link.
    final = Path(os.path.realpath(path))
    _check_names(manifest, files)
    try:
        clean_leftovers(final)
        _check_replaceable(final)
        with reserve(final, is_folder=folder) as temporary:
            with (_into_folder if folder else _into_zip)(temporary) as sink:
                _write_all(sink, manifest, files)
            # Once more: writing took time, and what is there now is about to be deleted.
            _check_replaceable(final)
            put(temporary, final)
    except OSError as error:
        raise BundleError(
            f"cannot write {path}: {error}; check the path, its permissions and the free space"
        ) from error
    return Bundle.open(path)


class _Sink(ABC):
    @abstractmethod
    def create(self, path: str, *, size: int) -> IO[bytes]:
        """Open a new file for writing; ``size`` is the number of bytes to come."""


class _FolderSink(_Sink):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, path: str, *, size: int) -> IO[bytes]:
        del size
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.open("xb")


class _ZipSink(_Sink):
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def create(self, path: str, *, size: int) -> IO[bytes]:
        entry = zipfile.ZipInfo(path, date_time=_ZIP_EPOCH)
        entry.create_system = _UNIX
        entry.external_attr = (stat.S_IFREG | 0o644) << 16
        entry.file_size = size  # decides whether the entry has 64-bit sizes
        return self._archive.open(entry, "w")


@contextmanager
def _into_folder(folder: Path) -> Iterator[_Sink]:
    yield _FolderSink(folder)
    for parent, _, names in os.walk(folder, topdown=False):
        for name in (*names, "."):
            _sync(Path(parent) / name)


@contextmanager
def _into_zip(path: Path) -> Iterator[_Sink]:
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            yield _ZipSink(archive)
        file.flush()
        os.fsync(file.fileno())


def _write_all(sink: _Sink, manifest: Manifest, files: Mapping[str, Content]) -> None:
    records = {path: _copy(sink, path, files[path]) for path in sorted(files)}
    try:
        data = replace(manifest, files=records).to_bytes()
    except (ValueError, TypeError) as error:
        raise BundleFormatError(f"the manifest is not JSON-ready: {error}") from error
    check_limit(len(data), MAX_MANIFEST_BYTES, what=f"the size of {MANIFEST_NAME}")
    Manifest.from_bytes(data)  # nothing is written that cannot be read
    _copy(sink, MANIFEST_NAME, data)


def _copy(sink: _Sink, path: str, content: Content) -> FileRecord:
    digest, size = hashlib.sha256(), 0
    expected = len(content) if isinstance(content, bytes) else content.stat().st_size
    with sink.create(path, size=expected) as target:
        for piece in _pieces(content):
            target.write(piece)
            digest.update(piece)
            size += len(piece)
    return FileRecord(size, digest.hexdigest())


def _pieces(content: Content) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_names(manifest: Manifest, files: Mapping[str, Content]) -> None:
    check_limit(len(files), MAX_FILES, what="the number of files")
    for path in files:
        check_path(path)
    check_unique((MANIFEST_NAME, *files))
    for path in manifest.referenced_paths:
        if path not in files:
            raise BundleFormatError(
                f"the manifest names {path!r}, which is not among the files to write: "
                f"{', '.join(files) or 'none'}"
            )


def _check_replaceable(final: Path) -> None:
    if not os.path.lexists(final) or is_bundle(final):
        return
    if final.is_dir() and not any(final.iterdir()):
        return
    raise BundleError(
        f"{final} is there and is not an EdgeKit bundle, so it is not replaced; "
        "give another path or remove it yourself"
    )
