"""A classifier that one code per tensor cannot hold: two channels of its input differ 4000-fold.

Its first convolution reads both, so neither another range nor other weights helps: it has to
stay in float. The second one is well behaved.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from tiny_onnx import build

LARGE = 4000.0
CLASSES = 4
FIRST, SECOND = "first", "second"


def write_model(path: Path) -> Path:
    """Write the model: (1, 2, 4, 4) to (1, 4), classes by a Softmax."""
    rng = np.random.default_rng(3)
    weight = np.zeros((8, 2, 1, 1), np.float32)
    # The small channel decides; the large one counts for as much, scaled down.
    weight[:, 0, 0, 0] = rng.uniform(-1, 1, 8) / LARGE
    weight[:, 1, 0, 0] = rng.uniform(-1, 1, 8)
    constants = {
        "w1": weight,
        "b1": rng.uniform(0.2, 0.5, 8).astype(np.float32),
        "w2": (rng.standard_normal((CLASSES, 8, 4, 4)) / 3).astype(np.float32),
        "shape": np.array([1, CLASSES], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], name=FIRST),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "w2"], ["c"], name=SECOND),
        helper.make_node("Reshape", ["c", "shape"], ["logits"], name="reshape"),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1, name="softmax"),
    ]
    model = build(
        nodes, inputs={"x": (1, 2, 4, 4)}, outputs={"y": (1, CLASSES)}, constants=constants
    )
    onnx.save(model, path)
    return path


def write_samples(path: Path, count: int = 120) -> Path:
    """Write inputs whose first channel is ``LARGE`` times the second."""
    rng = np.random.default_rng(4)
    x = rng.uniform(-1, 1, (count, 2, 4, 4)).astype(np.float32)
    x[:, 0] *= LARGE
    np.savez(path, x=x)
    return path
