"""From a path to the files of a bundle, all of one and the same bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from edgekit.bundle.fields import parse_json
from edgekit.bundle.limits import FORMAT, MANIFEST_NAME, MAX_MANIFEST_BYTES
from edgekit.bundle.manifest import Manifest
from edgekit.bundle.records import FileRecord
from edgekit.bundle.replace import interrupted_write
from edgekit.bundle.store import FolderStore, Store
from edgekit.bundle.zip_store import ZipStore
from edgekit.errors import BundleError, BundleFormatError, BundleIntegrityError, UnsafeBundleError

Result = TypeVar("Result")

_ATTEMPTS = 100  # each lost one means that a writer finished in between


def open_store(location: Path) -> Store:
    """Return the files at a location.

    Raises:
        BundleError: There is nothing.
    """
    if location.is_dir():
        return FolderStore(location)
    if location.is_file():
        return ZipStore(location)
    if location.exists():
        raise BundleFormatError(f"{location} is neither a file nor a folder; give a bundle's path")
    raise BundleError(
        f"{location} does not exist; give the path of a bundle{interrupted_write(location)}"
    )


def is_bundle(location: Path) -> bool:
    """Return whether there is a bundle, of this or a newer version, and nothing else with it."""

    def read() -> bool:
        store = open_store(location)
        sizes = store.sizes()
        root = parse_json(read_manifest(store, sizes))
        is_ours = root.key("format").value == FORMAT
        return is_ours and set(sizes) <= {MANIFEST_NAME, *root.key("files").pairs()}

    try:
        return settled(location, read)
    except BundleError:
        return False


def settled(location: Path, read: Callable[[], Result]) -> Result:
    """Read until nobody replaced the bundle meanwhile: half of one and half of another is none.

    Raises:
        BundleError: What ``read`` raised while nobody did.
    """
    for _ in range(_ATTEMPTS):
        before = _identity(location)
        try:
            result = read()
        except BundleError:
            if _identity(location) == before:
                raise
            continue
        if _identity(location) == before:
            return result
    raise BundleError(f"{location} is replaced all the time by other programs; try again later")


def _identity(location: Path) -> tuple[int, int, int] | None:
    try:
        status = location.stat()
    except OSError:
        return None
    # With the time, because the number of a deleted file is given to the next one.
    return status.st_dev, status.st_ino, status.st_ctime_ns


def read_manifest(store: Store, sizes: Mapping[str, int]) -> bytes:
    """Return the content of the manifest.

    Raises:
        BundleFormatError: There is none.
        UnsafeBundleError: It is over its limit.
    """
    if MANIFEST_NAME not in sizes:
        raise BundleFormatError(
            f"{store.location} is not an EdgeKit bundle: it has no {MANIFEST_NAME}; "
            "make one with: edgekit convert"
        )
    data = b"".join(store.chunks(MANIFEST_NAME, limit=MAX_MANIFEST_BYTES))
    if len(data) > MAX_MANIFEST_BYTES:
        raise UnsafeBundleError(
            f"{MANIFEST_NAME} of {store.location} is over the limit of {MAX_MANIFEST_BYTES} bytes; "
            "do not use a bundle from a source that you do not trust"
        )
    return data


def check_sizes(store: Store, sizes: Mapping[str, int], manifest: Manifest) -> None:
    """Check that what is there is what the manifest lists.

    Raises:
        BundleIntegrityError: A file is missing, of another size, or not listed.
    """
    for path, record in manifest.files.items():
        if path not in sizes:
            raise store.missing(path)
        if sizes[path] != record.size:
            raise mismatch(store.location, path, f"{sizes[path]} bytes", record)
    extra = sorted(set(sizes) - set(manifest.files) - {MANIFEST_NAME})
    if extra:
        raise BundleIntegrityError(
            f"{store.location} holds {extra[0]!r}, which its manifest does not list; "
            "remove it or convert the model again"
        )


def mismatch(location: Path, path: str, found: str, record: FileRecord) -> BundleIntegrityError:
    """Return the error for a file that is not what the manifest says."""
    return BundleIntegrityError(
        f"{path!r} of {location} has {found}; its manifest says SHA-256 {record.sha256}, "
        f"{record.size} bytes: it was damaged or changed, or replaced while it was open; open it "
        "again, or copy or convert it again"
    )
