"""A model in the form that one runtime loads, and the files that hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgekit.tensor import TensorSpec

FORMATS = ("onnx", "openvino", "tflite", "tensorrt", "tensorrt-rtx")
PRECISIONS = ("fp32", "fp16", "int8", "w8a16", "w8a32", "w8", "w4")


@dataclass(frozen=True)
class Artifact:
    """What an emitter made and a runtime loads.

    Args:
        format: One of ``FORMATS``.
        precision: One of ``PRECISIONS``: how the weights are stored.
        files: Role to path inside the bundle, ``/``-separated. Role ``"model"`` is the
            file to open; OpenVINO also has ``"weights"``.
        inputs: As the artifact stores them, in its order, with the source model's names.
        outputs: Likewise.
        recipe: Format-specific facts that the runtime or builder needs, JSON-ready
            (TensorRT's build settings, the inference precision of a verified figure).
        fused_preprocess: Names of the inputs whose preprocessing is inside the artifact.
    """

    format: str
    precision: str
    files: Mapping[str, str]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    fused_preprocess: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name within a bundle, such as ``"openvino-fp16"``."""
        return f"{self.format}-{self.precision}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "format": self.format,
            "precision": self.precision,
            "files": dict(self.files),
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "recipe": dict(self.recipe),
            "fused_preprocess": list(self.fused_preprocess),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Artifact:
        """Read what ``to_json`` wrote."""
        return cls(
            format=str(data["format"]),
            precision=str(data["precision"]),
            files={str(role): str(path) for role, path in data["files"].items()},
            inputs=tuple(TensorSpec.from_json(spec) for spec in data["inputs"]),
            outputs=tuple(TensorSpec.from_json(spec) for spec in data["outputs"]),
            recipe=dict(data.get("recipe", {})),
            fused_preprocess=tuple(str(name) for name in data.get("fused_preprocess", ())),
        )


class ArtifactFiles(Protocol):
    """Where a runtime gets an artifact's bytes: a folder, a zip, or plain files."""

    def path(self, role: str) -> Path | None:
        """Return the file on disk, or None where it lies inside a zip."""

    def read(self, role: str) -> bytes:
        """Return the whole content."""
