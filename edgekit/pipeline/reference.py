"""What is right: the source model under ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

from edgekit.graph import Array
from edgekit.pipeline.samples import Sample


class Reference:
    """The source model under ONNX Runtime; each sample is run once.

    Args:
        model: The source file.
    """

    def __init__(self, model: Path) -> None:
        self._model = model
        self._known: dict[int, tuple[Sample, dict[str, Array]]] = {}

    def __call__(self, sample: Sample) -> dict[str, Array]:
        """Return the source's outputs by name."""
        from edgekit.converters.evaluate import run_model

        if id(sample) not in self._known:
            outputs = run_model(self._model, sample.tensors, optimize=True)
            self._known[id(sample)] = (sample, outputs)
        return self._known[id(sample)][1]
