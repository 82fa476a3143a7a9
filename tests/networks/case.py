"""One line of the table of networks, and the inputs that it is fed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

# What a dynamic size becomes when inputs are made.
DYNAMIC_SIZE = 2


@dataclass(frozen=True)
class NetworkCase:
    """A network that must convert and agree with ONNX Runtime.

    Args:
        name: As it appears in the conversion table.
        family: Kind of network, such as ``"classifier"``.
        build: Makes the model; the same bytes at every call.
        size: ``"small"``, or ``"large"`` for files of 200 MB and more.
        highest: Input name to the exclusive upper bound of its integers (vocabulary size).
        shapes: Sizes to fix at conversion, by input; for a model with dynamic ones.
        notes: What in it is hard, or what tolerance it needs and why.
        judged: Outputs that are held against ONNX Runtime; empty for all.
        constant: Whether its outputs hardly depend on its input by design.
    """

    name: str
    family: str
    build: Callable[[], onnx.ModelProto]
    size: str = "small"
    highest: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    notes: str = ""
    judged: tuple[str, ...] = ()
    constant: bool = False


def graph_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that a caller must feed: those without an initializer."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def sample_inputs(
    model: onnx.ModelProto,
    *,
    seed: int,
    highest: dict[str, int] | None = None,
    shapes: dict[str, tuple[int, ...]] | None = None,
) -> dict[str, NDArray[np.generic]]:
    """Return one seeded input per graph input.

    Dynamic sizes become ``DYNAMIC_SIZE`` unless ``shapes`` gives the input's shape.
    Pictures and videos get blobs plus noise rather than white noise alone: a global pool
    averages white noise away, and the output would hardly depend on the input.
    """
    rng = np.random.default_rng(seed)
    feed: dict[str, NDArray[np.generic]] = {}
    for value in graph_inputs(model):
        kind = value.type.tensor_type
        shape = (shapes or {}).get(value.name) or tuple(
            dim.dim_value if dim.dim_value > 0 else DYNAMIC_SIZE for dim in kind.shape.dim
        )
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if dtype.kind in "iu":
            bound = (highest or {}).get(value.name, 256)
            feed[value.name] = rng.integers(0, bound, shape).astype(dtype)
        elif dtype.kind == "b":
            feed[value.name] = rng.random(shape) < 0.5
        else:
            feed[value.name] = smooth_noise(rng, shape).astype(dtype)
    return feed


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return blobs plus noise along the axes after the second, about N(0, 1)."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    blobs = noise
    for axis in range(2, len(shape)):
        coarse = max(2, shape[axis] // 16)
        index = np.arange(shape[axis]) * coarse // shape[axis]
        blobs = np.take(blobs, index, axis=axis)
    if len(shape) < 3:
        return noise
    return np.float32(0.9) * blobs + np.float32(0.4) * noise
