"""The second file of an int8 artifact for TensorRT: float16 between the pairs.

What was measured stands for the plain file. Here the typed one is held against it under ONNX
Runtime, every node as the file says it: its optimizer would write biases as int32 with float16
scales, whose products underflow (measured, 1.32: 29 dB become 16), which TensorRT does not do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.errors import GateError
from edgekit.pipeline.build import Built
from edgekit.pipeline.samples import Sample
from edgekit.runtimes.parity import compare_outputs, worst


def typed_notes(built: Sequence[Built], samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return how near each typed file is to its plain one.

    Args:
        built: The artifacts; those without a typed int8 file are passed over.
        samples: Real inputs.

    Raises:
        GateError: It gives what is no number where the plain one does.
    """
    from edgekit.converters.evaluate import run_model

    notes: list[str] = []
    for item in built:
        artifact = item.artifact
        is_typed = artifact.precision == "int8" and "typed" in artifact.files
        if not is_typed or artifact.fused_preprocess or not samples:
            continue
        plain, typed = (item.folder / artifact.files[role] for role in ("model", "typed"))
        pairs = [
            (run_model(typed, sample.tensors), run_model(plain, sample.tensors))
            for sample in samples
        ]
        for got, wanted in pairs:
            bad = [name for name in got if not _is_finite(got[name]) and _is_finite(wanted[name])]
            if bad:
                raise GateError(
                    f"{artifact.name}: {bad[0]!r} is not finite in the file for TensorRT 11, whose "
                    "tensors are float16; please report it, with the model"
                )
        figures = worst(compare_outputs(got, wanted) for got, wanted in pairs)
        cosine = min(figure.cosine for figure in figures)
        notes.append(
            f"{artifact.name}: the file for TensorRT 11, float16 between the pairs, has cosine "
            f"{cosine:.4f} to the measured one under ONNX Runtime"
        )
    return tuple(notes)


def _is_finite(value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bool:
    return value.dtype.kind != "f" or bool(np.isfinite(value).all())
