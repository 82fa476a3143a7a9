"""Bring a Keras file or a SavedModel to ONNX with tf2onnx; runs in that package's environment.

    python3.11 -m venv TF && TF/bin/pip install tensorflow-cpu==2.21.0 tf_keras tf2onnx==1.17.0
    export EDGEKIT_TF_PYTHON=TF/bin/python
    TF/bin/python benchmarks/keras_to_onnx.py MODEL.h5 FLOAT.onnx

The batch becomes 1, the opset 18; inputs keep their layout, channels last. The versions go to
standard output.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import tensorflow as tf
import tf2onnx

OPSET = 18


def main() -> None:
    """Read, convert and write."""
    source, result = map(Path, sys.argv[1:3])
    function, inputs = read_saved_model(source) if source.is_dir() else read_keras(source)
    signature = [
        tf.TensorSpec([size or 1 for size in spec.shape], spec.dtype, name=f"input_{index}")
        for index, spec in enumerate(inputs)
    ]
    tf2onnx.convert.from_function(
        tf.function(function, input_signature=signature),
        input_signature=signature,
        opset=OPSET,
        output_path=str(result),
    )
    print(f"tensorflow {tf.__version__}, tf2onnx {tf2onnx.__version__}")


def read_keras(source: Path) -> tuple[Any, list[Any]]:
    """Return the call of a Keras model and what it takes."""
    # Keras 3 does not read all HDF5 files of Keras 2; its optimizer's settings none of them.
    import tf_keras

    model = tf_keras.models.load_model(source, compile=False)
    return lambda *values: model(values[0] if len(values) == 1 else values, training=False), list(
        model.inputs
    )


def read_saved_model(source: Path) -> tuple[Any, list[Any]]:
    """Return the default signature of a SavedModel and what it takes."""
    loaded = tf.saved_model.load(str(source))
    signature = loaded.signatures["serving_default"]
    specs = signature.structured_input_signature[1]
    names = sorted(specs)

    def call(*values: Any) -> list[Any]:
        made = signature(**dict(zip(names, values, strict=True)))
        return [made[name] for name in sorted(made)]

    # The module must outlive the call: its variables go with it.
    call.module = loaded  # type: ignore[attr-defined]
    return call, [specs[name] for name in names]


if __name__ == "__main__":
    main()
