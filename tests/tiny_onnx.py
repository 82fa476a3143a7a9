"""Small ONNX models built in code, and where the real ones lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekit.converters.evaluate import evaluate
from edgekit.converters.onnx_model import graph_from_bytes
from edgekit.graph import Graph

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
LIGHT_MODELS = tuple(sorted(LIGHT.glob("*.onnx")))
REAL_MODELS = tuple(sorted(DATA.glob("*/*.onnx")))

Shape = Sequence[int | str | None]


def real_model_params() -> list[object]:
    """Return pytest parameters: each real model, or one skip with its reason."""
    if not REAL_MODELS:
        reason = pytest.mark.skip(reason=f"no real models in {DATA}")
        return [pytest.param(Path("none.onnx"), marks=reason)]
    return [pytest.param(path, id=path.stem) for path in REAL_MODELS]


def build(
    nodes: Sequence[onnx.NodeProto],
    *,
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape | None],
    constants: Mapping[str, NDArray[np.generic]] | None = None,
    opset: int = 18,
    dtypes: Mapping[str, int] | None = None,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """Return a model; tensors are float32 unless ``dtypes`` says otherwise."""
    kinds = dtypes or {}

    def info(name: str, shape: Shape | None) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shape)

    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [info(name, shape) for name, shape in inputs.items()],
        [info(name, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir_version
    return model


def conv_relu(*, size: int = 8, opset: int = 18, seed: int = 0) -> onnx.ModelProto:
    """Return x (1, 3, size, size) -> Conv 3x3, 4 channels -> Relu -> y."""
    rng = np.random.default_rng(seed)
    return build(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["y"], name="relu"),
        ],
        inputs={"x": [1, 3, size, size]},
        outputs={"y": [1, 4, size, size]},
        constants={
            "w": rng.standard_normal((4, 3, 3, 3), dtype=np.float32),
            "b": rng.standard_normal(4, dtype=np.float32),
        },
        opset=opset,
    )


def normal(shape: Sequence[int], *, seed: int = 1) -> NDArray[np.float32]:
    """Return seeded standard normal float32 values."""
    return np.random.default_rng(seed).standard_normal(tuple(shape), dtype=np.float32)


def tiny(nodes: list[Any], **given: Any) -> Graph:
    return graph_from_bytes(build(nodes, **given).SerializeToString())


def op_types(graph: Graph) -> list[str]:
    return [node.op_type for node in graph.nodes]


def feeds_of(graph: Graph) -> dict[str, NDArray[np.generic]]:
    rng = np.random.default_rng(0)
    return {
        spec.name: rng.standard_normal(
            [
                dim if isinstance(dim, int) else (2, 3, 64, 96)[axis]
                for axis, dim in enumerate(spec.shape or ())
            ]
        ).astype(spec.dtype.value)
        for spec in graph.inputs
    }


def assert_same(left: Graph, right: Graph, *, rtol: float = 1e-5) -> None:
    feeds = feeds_of(left)
    before, after = evaluate(left, feeds), evaluate(right, feeds)
    for name, expected in before.items():
        scale = float(np.abs(expected).max(initial=0)) or 1.0
        np.testing.assert_allclose(after[name], expected, rtol=0, atol=rtol * scale)
