"""Quantize a float TFLite file with ai-edge-quantizer; runs in that package's environment.

    AEQ/bin/python benchmarks/aeq_quantize.py FLOAT.tflite SAMPLES.npz INT8.tflite float|int8

SAMPLES.npz holds one array per input of the signature, its samples stacked along a new first
axis. The recipe is the package's own for static int8 (weights per channel, activations);
the last word says what the inputs and outputs are.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ai_edge_quantizer import qtyping, quantizer, recipe


def main() -> None:
    """Calibrate, quantize and write."""
    source, samples, result = map(Path, sys.argv[1:4])
    stacked = dict(np.load(samples))
    count = len(next(iter(stacked.values())))
    feeds = [{name: values[i] for name, values in stacked.items()} for i in range(count)]
    engine = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
    if sys.argv[4:] == ["float"]:
        for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
            engine.update_quantization_recipe(
                regex=".*", operation_name=border, algorithm_key="no_quantize"
            )
    seen = engine.calibrate({"serving_default": feeds})
    result.unlink(missing_ok=True)
    engine.quantize(seen).export_model(str(result))


if __name__ == "__main__":
    main()
