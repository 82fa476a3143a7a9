"""What can be opened: a bundle or a plain model file, as artifacts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgekit.artifact import Artifact, ArtifactFiles
from edgekit.bundle import Bundle
from edgekit.runtimes import RUNTIMES
from edgekit.runtimes.base import EngineSession
from edgekit.runtimes.choice import Candidate
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.plain import is_model_file, open_plain
from edgekit.runtimes.session import Session


class Source:
    """A bundle or a plain model file.

    Args:
        source: A bundle, the path of one, or the path of a ``.onnx``, ``.tflite`` or
            ``.xml`` file.

    Attributes:
        bundle: The bundle; None for a plain file.
        artifacts: What can be opened; that of a plain file has no tensors yet.

    Raises:
        UsageError: The file is not there.
        BundleError: The bundle cannot be read.
    """

    def __init__(self, source: str | Path | Bundle) -> None:
        self.bundle: Bundle | None = None
        if isinstance(source, (str, Path)) and is_model_file(Path(source)):
            artifact, files = open_plain(Path(source))
            self.artifacts: tuple[Artifact, ...] = (artifact,)
            self._files_of: Callable[[Artifact], ArtifactFiles] = lambda _: files
            return
        self.bundle = source if isinstance(source, Bundle) else Bundle.open(Path(source))
        self.artifacts = tuple(self.bundle.artifacts)
        self._files_of = self.bundle.files

    def open(self, candidate: Candidate, options: SessionOptions, *, reason: str) -> Session:
        """Return a session on one of the artifacts.

        Raises:
            EngineError, UsageError: As for ``Session.open``.
            ImportError: The engine is installed, but not for this system.
        """
        backend: type[EngineSession] = RUNTIMES[candidate.runtime].load()
        manifest = None if self.bundle is None else self.bundle.manifest
        return backend.open(
            candidate.artifact,
            self._files_of(candidate.artifact),
            inputs=None if manifest is None else manifest.inputs,
            outputs=None if manifest is None else manifest.outputs,
            options=options,
            preprocess=None if manifest is None else manifest.preprocess,
            reason=reason,
        )

    def size_bytes(self, artifact: Artifact) -> int:
        """Return the size of an artifact's files together."""
        if self.bundle is not None:
            records = self.bundle.manifest.files
            return sum(records[path].size for path in artifact.files.values())
        files = self._files_of(artifact)
        paths = [files.path(role) for role in artifact.files]
        return sum(path.stat().st_size for path in paths if path is not None)

    def hashes(self, artifact: Artifact) -> frozenset[str]:
        """Return the SHA-256 of an artifact's files; of a plain file nobody has said it."""
        if self.bundle is None:
            return frozenset()
        records = self.bundle.manifest.files
        return frozenset(records[path].sha256 for path in artifact.files.values())

    def sizes(self) -> dict[str, int]:
        """Return a size for each dynamic dimension that the goldens tell, by its name."""
        if self.bundle is None:
            return {}
        sizes: dict[str, int] = {}
        for golden in self.bundle.goldens()[:1]:
            for spec in self.bundle.manifest.inputs:
                shape = golden.inputs[spec.name].shape
                if spec.shape is not None and len(shape) == len(spec.shape):
                    pairs = zip(spec.shape, shape, strict=True)
                    sizes |= {dim: size for dim, size in pairs if isinstance(dim, str)}
        return sizes
