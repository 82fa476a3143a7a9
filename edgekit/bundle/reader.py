"""Opening a bundle and reading what is in it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.artifact import Artifact
from edgekit.bundle.golden import Golden, from_npy
from edgekit.bundle.hashing import State, known_sha256, remember, state_of
from edgekit.bundle.manifest import Manifest
from edgekit.bundle.opening import check_sizes, mismatch, open_store, read_manifest, settled
from edgekit.bundle.records import FileRecord
from edgekit.bundle.store import Store
from edgekit.errors import UsageError
from edgekit.registry import unknown_name

if TYPE_CHECKING:
    from edgekit.graph import Array
    from edgekit.tensor import TensorSpec


class Bundle:
    """One model for every target, in a folder or a zip file. Made by ``Bundle.open``.

    Every read compares the file with its hash; a file that stays on disk is hashed again only
    where it may have changed. Reading from several threads is safe; a bundle that another
    process replaces meanwhile is noticed by its hashes.
    """

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self._store = store
        self._checked: dict[str, State | None] = {}
        self.manifest = manifest

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Open a bundle; its contents are read when asked for.

        Raises:
            BundleError: There is nothing at that path.
            BundleFormatError: It is not a bundle, or is damaged.
            BundleVersionError: A newer EdgeKit wrote it.
            BundleIntegrityError: A file is missing, of another size, or not in the manifest.
            UnsafeBundleError: It leads outside itself or is over the limits.
        """

        def read() -> Bundle:
            store = open_store(Path(path))
            sizes = store.sizes()
            manifest = Manifest.from_bytes(read_manifest(store, sizes))
            check_sizes(store, sizes, manifest)
            return cls(store, manifest)

        return settled(Path(path), read)

    @property
    def location(self) -> Path:
        """The folder or zip file."""
        return self._store.location

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """What runtimes load."""
        return self.manifest.artifacts

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, by index; empty where there are none."""
        return self.manifest.labels

    def artifact(self, name: str) -> Artifact:
        """Return the artifact of that name.

        Raises:
            UsageError: There is none; the message names the closest and all.
        """
        for artifact in self.artifacts:
            if artifact.name == name:
                return artifact
        names = tuple(artifact.name for artifact in self.artifacts)
        raise UsageError(unknown_name(name, names, kind="artifact"))

    def files(self, artifact: Artifact) -> BundleFiles:
        """Return where a runtime gets the artifact's bytes."""
        return BundleFiles(self, artifact)

    def goldens(self) -> tuple[Golden, ...]:
        """Return the runs of the source model to replay, arrays in memory.

        Raises:
            BundleIntegrityError: A file does not match its hash.
            BundleFormatError: A file is not a plain array.
        """
        inputs = {spec.name: spec for spec in self.manifest.inputs}
        outputs = {spec.name: spec for spec in self.manifest.outputs}
        return tuple(
            Golden(
                golden.origin,
                {name: self._array(path, inputs[name]) for name, path in golden.inputs.items()},
                {name: self._array(path, outputs[name]) for name, path in golden.outputs.items()},
            )
            for golden in self.manifest.goldens
        )

    def read(self, path: str) -> bytes:
        """Return the content of a file, which matches its hash.

        Args:
            path: As the manifest has it.

        Raises:
            BundleIntegrityError: The file is missing or does not match its hash.
            UsageError: The manifest has no such file.
        """
        buffer = io.BytesIO()
        for piece in self._checked_pieces(path):
            buffer.write(piece)
        return buffer.getvalue()

    def path(self, path: str) -> Path | None:
        """Return a file on disk, compared with its hash; None inside a zip.

        This process hashes it again only where it may have changed since.

        Raises:
            BundleIntegrityError: The file is missing or does not match its hash.
            UsageError: The manifest has no such file.
        """
        on_disk = self._store.path(path)
        if on_disk is None:
            return None
        state = state_of(on_disk)
        if path in self._checked and self._checked[path] == state:
            return on_disk
        if known_sha256(state) == self._record(path).sha256:
            self._checked[path] = state
            return on_disk
        for _ in self._checked_pieces(path):
            pass
        return on_disk

    def verify_files(self, progress: Callable[[str], None] | None = None) -> tuple[str, ...]:
        """Compare every file with its hash.

        Args:
            progress: Called with the path of each file that matched.

        Returns:
            The paths, all of which match.

        Raises:
            BundleIntegrityError: One is missing or does not match.
        """
        for path in self.manifest.files:
            for _ in self._checked_pieces(path):
                pass
            if progress is not None:
                progress(path)
        return tuple(self.manifest.files)

    def _checked_pieces(self, path: str) -> Iterator[bytes]:
        record = self._record(path)
        on_disk = self._store.path(path)
        state = None if on_disk is None else state_of(on_disk)
        digest, size = hashlib.sha256(), 0
        for piece in self._store.chunks(path, limit=record.size):
            size += len(piece)
            if size > record.size:
                break
            digest.update(piece)
            yield piece
        if size != record.size or digest.hexdigest() != record.sha256:
            found = f"SHA-256 {digest.hexdigest()}, {size} bytes"
            raise mismatch(self.location, path, found, record)
        self._checked[path] = state
        if on_disk is not None:
            remember(on_disk, state, record.sha256)

    def _record(self, path: str) -> FileRecord:
        if path not in self.manifest.files:
            raise UsageError(unknown_name(path, self.manifest.files, kind="file in the bundle"))
        return self.manifest.files[path]

    def _array(self, path: str, spec: TensorSpec) -> Array:
        return from_npy(self.read(path), dtype=spec.dtype, path=path)


@dataclass(frozen=True)
class BundleFiles:
    """The files of one artifact, by role; an ``ArtifactFiles``.

    Args:
        bundle: Where they are.
        artifact: Whose they are.
    """

    bundle: Bundle
    artifact: Artifact

    def path(self, role: str) -> Path | None:
        """Return the file on disk, compared with its hash; None inside a zip."""
        return self.bundle.path(self._path_of(role))

    def read(self, role: str) -> bytes:
        """Return the whole content, compared with its hash."""
        return self.bundle.read(self._path_of(role))

    def _path_of(self, role: str) -> str:
        if role not in self.artifact.files:
            kind = f"file of {self.artifact.name}"
            raise UsageError(unknown_name(role, self.artifact.files, kind=kind))
        return self.artifact.files[role]
