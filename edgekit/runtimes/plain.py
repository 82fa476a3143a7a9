"""A model file that lies on disk by itself, without a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.artifact import Artifact
from edgekit.errors import ModelFormatError, UsageError

FORMAT_OF_SUFFIX = {".onnx": "onnx", ".tflite": "tflite", ".xml": "openvino"}


@dataclass(frozen=True)
class PlainFiles:
    """Files on disk by role; an ``ArtifactFiles``.

    Args:
        model: The file to open.
        weights: OpenVINO's ``.bin`` beside its ``.xml``.
    """

    model: Path
    weights: Path | None = None

    def path(self, role: str) -> Path | None:
        """Return the file of that role, or None where there is none."""
        return self.weights if role == "weights" else self.model

    def read(self, role: str) -> bytes:
        """Return the whole content.

        Raises:
            ModelFormatError: There is no file of that role.
        """
        path = self.path(role)
        if path is None:
            raise ModelFormatError(f"{self.model} has no {role} file beside it")
        return path.read_bytes()


def is_model_file(path: Path) -> bool:
    """Return whether the file's name says that it is a model and not a bundle."""
    return path.suffix.lower() in FORMAT_OF_SUFFIX


def open_plain(path: Path) -> tuple[Artifact, PlainFiles]:
    """Return the file as an artifact without tensors: the engine that loads it tells them.

    Raises:
        UsageError: It is no model file, or is not there.
        ModelFormatError: Its weights are not there.
    """
    if not is_model_file(path):
        raise UsageError(
            f"{path.name!r} is not a model file; one ends in: {', '.join(FORMAT_OF_SUFFIX)}"
        )
    if not path.is_file():
        raise UsageError(f"{path} does not exist; give the path of a model file or bundle")
    model_format = FORMAT_OF_SUFFIX[path.suffix.lower()]
    weights = path.with_suffix(".bin") if model_format == "openvino" else None
    if weights is not None and not weights.is_file():
        raise ModelFormatError(f"{path.name} needs {weights.name} beside it; copy both")
    files = {"model": path.name} | ({} if weights is None else {"weights": weights.name})
    artifact = Artifact(model_format, "fp32", files, inputs=(), outputs=())
    return artifact, PlainFiles(path, weights)
