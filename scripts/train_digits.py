"""Train the example's model: handwritten digits, a small CNN, plain numpy.

    python scripts/train_digits.py                      # writes examples/digits/
    python scripts/train_digits.py --calibration-only   # writes calibration.npz there

The pictures are scikit-learn's digits (1797 of 8 x 8 grey levels 0..16; from the UCI set
"Optical Recognition of Handwritten Digits"). Every fifth one is held out: it is never
trained on, and the printed accuracy is that on them. The pictures reach the network
through ``Preprocess.apply``, exactly as a camera frame will.

The random numbers are seeded. Another BLAS may round otherwise, so that another machine's
weights differ in their last digits.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from numpy_network import (
    BatchNorm,
    Classifier,
    Conv,
    Floats,
    Layer,
    MaxPool,
    Relu,
    Residual,
    export_chain,
    leaves,
)
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

from edgekit.preprocess import Preprocess
from edgekit.tensor import DType, TensorSpec

logger = logging.getLogger("train_digits")

PREPROCESS = "letterbox,gray,scale=1/255,mean=0.3,std=0.37"
INPUT = TensorSpec("image", DType.FLOAT32, (1, 1, 32, 32))
LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

SEED = 2026
EPOCHS = 20
BATCH = 64
PEAK_RATE = 0.01
SHIFT = 2
"""Training pictures are moved by up to so many pixels of 32."""
PICTURE_SIDE = 96
CALIBRATION = 100
"""So many training pictures are given to calibrate on."""

Frames = NDArray[np.uint8]
Labels = NDArray[np.int64]


def load_frames() -> tuple[Frames, Labels]:
    """Return all digits as frames, uint8 (1797, 8, 8, 3), white on black, and 0..9."""
    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return grey[..., None].repeat(3, axis=3), digits.target.astype(np.int64)


def held_out(count: int) -> NDArray[np.bool_]:
    """Return which pictures are for testing only: every fifth, without a random number."""
    chosen: NDArray[np.bool_] = np.arange(count) % 5 == 0
    return chosen


def write_calibration(folder: Path, training: Frames) -> None:
    """Write training pictures to calibrate on, spread over all; none of them is held out.

    Args:
        folder: Where to.
        training: uint8 (N, 8, 8, 3).
    """
    chosen = np.linspace(0, len(training) - 1, CALIBRATION).astype(np.int64)
    np.savez_compressed(folder / "calibration.npz", frames=training[chosen])


def enlarge(frame: Frames) -> Frames:
    """Return the frame as a picture of 96 x 96, as a user would have it."""
    size = (PICTURE_SIDE, PICTURE_SIDE)
    return cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)  # type: ignore[no-any-return]


def network_inputs(frames: list[Frames]) -> Floats:
    """Return frames as the network takes them, float32 (N, 1, 32, 32)."""
    preprocess = Preprocess.parse(PREPROCESS)
    return np.concatenate([preprocess.apply(frame, INPUT) for frame in frames])


def build_network(rng: np.random.Generator) -> list[Layer]:
    """Return a network with the operators that matter on the edge, 1x32x32 to 10 logits."""
    return [
        Conv((1, 8), kernel=3, stride=2, rng=rng), BatchNorm(8), Relu(),
        Conv((8, 8), kernel=3, depthwise=True, rng=rng), BatchNorm(8), Relu(),
        Conv((8, 24), kernel=1, rng=rng), BatchNorm(24), Relu(),
        MaxPool(),
        Conv((24, 24), kernel=3, depthwise=True, rng=rng), BatchNorm(24), Relu(),
        Conv((24, 32), kernel=1, rng=rng), BatchNorm(32), Relu(),
        Residual([Conv((32, 32), kernel=3, rng=rng), BatchNorm(32), Relu()]),
        Conv((32, 48), kernel=3, stride=2, rng=rng), BatchNorm(48), Relu(),
        Classifier(48, len(LABELS), rng=rng),
    ]  # fmt: skip


def forward(layers: list[Layer], x: Floats, *, training: bool = False) -> Floats:
    """Return the logits, (N, 10)."""
    for layer in layers:
        x = layer.forward(x, training=training)
    return x


def accuracy(layers: list[Layer], x: Floats, labels: Labels) -> float:
    """Return the share of right answers."""
    return float((forward(layers, x).argmax(axis=1) == labels).mean())


class Adam:
    """Adam with decoupled weight decay (Kingma and Ba 2015; Loshchilov and Hutter 2019)."""

    def __init__(self, layers: list[Layer], *, decay: float = 1e-3) -> None:
        self.layers = leaves(layers)
        self.decay = decay
        self.steps = 0
        self.moments = [
            {name: [np.zeros_like(value), np.zeros_like(value)] for name, value in p.items()}
            for p in (layer.parameters for layer in self.layers)
        ]

    def step(self, rate: float) -> None:
        """Move every parameter against its gradient."""
        self.steps += 1
        for layer, moments in zip(self.layers, self.moments, strict=True):
            for name, value in layer.parameters.items():
                first, second = moments[name]
                gradient = layer.gradients[name]
                first += 0.1 * (gradient - first)
                second += 0.001 * (gradient * gradient - second)
                mean = first / (1 - 0.9**self.steps)
                spread = np.sqrt(second / (1 - 0.999**self.steps)) + 1e-8
                decay = self.decay if name == "weight" else 0.0
                value[...] -= rate * (mean / spread + decay * value)


def shifted(x: Floats, rng: np.random.Generator) -> Floats:
    """Return each picture moved by a few pixels; what comes in at the edge is background."""
    margin = (SHIFT, SHIFT)
    padded = np.pad(x, ((0, 0), (0, 0), margin, margin), mode="edge")
    side = x.shape[2]
    corners = rng.integers(0, 2 * SHIFT + 1, (len(x), 2))
    views = [p[:, i : i + side, j : j + side] for p, (i, j) in zip(padded, corners, strict=True)]
    return np.stack(views)


def train(layers: list[Layer], x: Floats, labels: Labels, *, rng: np.random.Generator) -> None:
    """Minimise the cross entropy; the learning rate rises and falls once."""
    optimiser = Adam(layers)
    starts = range(0, len(x) - BATCH + 1, BATCH)
    total = EPOCHS * len(starts)
    for epoch in range(EPOCHS):
        order = rng.permutation(len(x))
        losses = []
        for start in starts:
            chosen = order[start : start + BATCH]
            logits = forward(layers, shifted(x[chosen], rng), training=True)
            logits = logits - logits.max(axis=1, keepdims=True)
            log_odds = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            right = np.arange(BATCH), labels[chosen]
            losses.append(-log_odds[right].mean())
            gradient = np.exp(log_odds)
            gradient[right] -= 1
            gradient = (gradient / BATCH).astype(np.float32)
            for layer in reversed(layers):
                gradient = layer.backward(gradient)
            progress = optimiser.steps / total
            optimiser.step(PEAK_RATE * min(1, progress * 10) * (1 + np.cos(np.pi * progress)) / 2)
        logger.info("epoch %d of %d: loss %.4f", epoch + 1, EPOCHS, np.mean(losses))


def to_onnx(layers: list[Layer]) -> onnx.ModelProto:
    """Return the trained network, opset 18, batch normalisation kept as nodes."""
    nodes, constants = export_chain(layers, INPUT.name, "layer")
    nodes[-1].output[0] = "probabilities"
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info(INPUT.name, TensorProto.FLOAT, INPUT.static_shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, len(LABELS)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    model.producer_name = "edgekit scripts/train_digits.py"
    onnx.checker.check_model(model, full_check=True)
    return model


def write_example(folder: Path, layers: list[Layer], frames: Frames, labels: Labels) -> None:
    """Write the model, its labels, the held-out set, and one held-out picture per digit."""
    onnx.save_model(to_onnx(layers), folder / "digits.onnx")
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    np.savez_compressed(folder / "heldout.npz", frames=frames, labels=labels)
    for digit, name in enumerate(LABELS):
        first = frames[np.flatnonzero(labels == digit)[0]]
        cv2.imwrite(str(folder / f"{name}.png"), enlarge(first)[:, :, 0])


def main(arguments: list[str] | None = None) -> None:
    """Train, test, write."""
    default = Path(__file__).parents[1] / "examples" / "digits"
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--output", type=Path, default=default, help="folder to write to")
    parser.add_argument(
        "--calibration-only", action="store_true", help="train nothing, write calibration.npz"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    started = time.perf_counter()
    frames, labels = load_frames()
    is_test = held_out(len(frames))
    options.output.mkdir(parents=True, exist_ok=True)
    write_calibration(options.output, frames[~is_test])
    if options.calibration_only:
        return
    rng = np.random.default_rng(SEED)
    layers = build_network(rng)
    # Both as they are and enlarged, so that the network knows sharp and blurred strokes.
    small: list[Any] = list(frames[~is_test])
    inputs = network_inputs(small + [enlarge(frame) for frame in small])
    train(layers, inputs, np.tile(labels[~is_test], 2), rng=rng)
    unseen: list[Any] = list(frames[is_test])
    for side, shown in ((8, unseen), (PICTURE_SIDE, [enlarge(frame) for frame in unseen])):
        percent = 100 * accuracy(layers, network_inputs(shown), labels[is_test])
        logger.info(
            "%.2f %% of %d held-out pictures, %d pixels wide, are right", percent, len(shown), side
        )
    write_example(options.output, layers, frames[is_test], labels[is_test])
    logger.info("wrote %s in %.0f s", options.output, time.perf_counter() - started)


if __name__ == "__main__":
    main()
