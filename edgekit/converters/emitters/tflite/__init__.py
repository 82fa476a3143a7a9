"""ONNX graph to TFLite flatbuffer, with no TensorFlow.

``lower`` walks the graph once. Each value carries the order of axes in which it is stored
(``layout.py``), so NCHW becomes NHWC where convolutions want it and almost no TRANSPOSE is
left. An operator that no builtin kernel can compute is refused by name.

    patterns.py   idioms that TFLite has one operator for
    lowering.py   the state of one lowering
    ops/          one lowering per ONNX operator
    fuse.py       fused activations and biases, float16 storage
    model.py writer.py schema.py   the flatbuffer
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.artifact import Artifact
from edgekit.converters.emitters.tflite.fuse import fuse, store_half
from edgekit.converters.emitters.tflite.layout import channels_last, identity, stored_shape
from edgekit.converters.emitters.tflite.lowering import Lowering, Value
from edgekit.converters.emitters.tflite.model import Model, Signature, Subgraph, Tensor
from edgekit.converters.emitters.tflite.ops import LOWERINGS
from edgekit.converters.emitters.tflite.patterns import fuse_patterns
from edgekit.converters.emitters.tflite.writer import write_model
from edgekit.errors import ModelError, ShapeError, UnsupportedOperatorError
from edgekit.graph import Graph, Node
from edgekit.target import Target
from edgekit.tensor import DType, Layout, TensorSpec

if TYPE_CHECKING:
    from edgekit.preprocess import Preprocess

IO_DTYPES = (
    DType.FLOAT32, DType.INT32, DType.INT64, DType.INT8, DType.UINT8, DType.BOOL,
)  # fmt: skip
# Operators whose kernels want channels last; an image input that reaches one is stored so.
SPATIAL = frozenset(
    {
        "AveragePool", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool", "LRN",
        "GlobalMaxPool", "MaxPool", "MaxUnpool", "Resize", "SpaceToDepth", "Upsample",
    }
)  # fmt: skip
# Operators after which the axes no longer mean what they meant at the input.
LAYOUT_ENDS = frozenset({"Flatten", "Gemm", "MatMul", "Reshape", "Squeeze", "Transpose"})
MODEL_FILE = "model.tflite"


@dataclass(frozen=True)
class Lowered:
    """A lowered graph and what its inputs and outputs are as stored."""

    model: Model
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def emit(
    graph: Graph,
    folder: Path,
    *,
    target: Target,
    preprocess: Mapping[str, Preprocess] | None = None,
) -> Artifact:
    """Write ``model.tflite`` into the folder.

    Args:
        graph: Simplified, opset 13 or newer, all shapes fixed.
        folder: Where the file goes.
        target: Its precision says how weights are stored.
        preprocess: Steps to fuse into the file, by input name.

    Raises:
        UnsupportedOperatorError: A node cannot be lowered; the message names it.
        ShapeError: An input's shape is not fixed.
    """
    if preprocess:
        from edgekit.converters.passes.fuse_preprocess import fuse_preprocess

        graph = fuse_preprocess(graph, preprocess)
    lowered = lower(graph, precision=target.precision)
    write_model(lowered.model, folder / MODEL_FILE)
    return Artifact(
        format="tflite",
        precision=target.precision,
        files={"model": MODEL_FILE},
        inputs=lowered.inputs,
        outputs=lowered.outputs,
        fused_preprocess=tuple(preprocess or ()),
    )


def lower(graph: Graph, *, precision: str = "fp32") -> Lowered:
    """Return the graph as a TFLite model; nothing is written."""
    graph = fuse_patterns(graph)
    low = Lowering(graph)
    inputs = {spec.name: _bind_input(low, spec) for spec in graph.inputs}
    for node in graph.nodes:
        low.begin(node)
        _lower_node(low, node)
    outputs = {name: _finish_output(low, name, inputs) for name in graph.output_names}
    tensors = [value.tensor for value in outputs.values()]
    operators = fuse(low.operators, tensors)
    if precision == "fp16":
        operators = store_half(operators)
    main = Subgraph("main", [v.tensor for v in inputs.values()], tensors, operators)
    signature = Signature(
        {name: value.tensor for name, value in inputs.items()},
        {name: value.tensor for name, value in outputs.items()},
    )
    model = Model([main, *low.subgraphs], signature, description=f"{graph.name}, by EdgeKit")
    return Lowered(
        model,
        tuple(_spec(name, value) for name, value in inputs.items()),
        tuple(_spec(name, value) for name, value in outputs.items()),
    )


def _lower_node(low: Lowering, node: Node) -> None:
    lowering = LOWERINGS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if lowering is None:
        domain = f"{node.domain}." if node.domain else ""
        raise UnsupportedOperatorError(
            node=node.name,
            op_type=f"{domain}{node.op_type}",
            reason="EdgeKit has no lowering of this operator to TFLite builtins",
            target="tflite",
        )
    try:
        lowering(low, node)
    except ModelError:
        raise
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise UnsupportedOperatorError(
            node=node.name,
            op_type=node.op_type,
            reason=f"its inputs or attributes are not what ONNX defines ({error!r})",
            target="tflite",
        ) from error


def _bind_input(low: Lowering, spec: TensorSpec) -> Value:
    if not spec.is_static:
        raise ShapeError(
            f"input {spec.name!r} has shape {spec.shape}; TFLite needs fixed sizes: give them, "
            f"such as --shape {spec.name}:1x3x224x224"
        )
    if spec.dtype not in IO_DTYPES:
        names = ", ".join(dtype.value for dtype in IO_DTYPES)
        raise ModelError(
            f"input {spec.name!r} is {spec.dtype.value}; the TFLite target takes {names}; "
            "export the model in float32"
        )
    shape = spec.static_shape
    if 0 in shape:
        raise ShapeError(f"input {spec.name!r} has shape {shape}; an empty tensor cannot be fed")
    is_image = len(shape) in (4, 5) and _reaches_spatial(low, spec.name)
    order = channels_last(len(shape)) if is_image else identity(len(shape))
    tensor = Tensor(low.unique_name(spec.name), stored_shape(shape, order), spec.dtype)
    low.bind(spec.name, tensor, order)
    return low.value(spec.name)


def _reaches_spatial(low: Lowering, name: str) -> bool:
    """Whether the input flows into a kernel that wants channels last, its axes untouched."""
    rank = low.graph.values[name].shape if name in low.graph.values else None
    pending, seen = [name], set()
    while pending:
        current = pending.pop()
        for node in low.consumers.get(current, []):
            if node.op_type in SPATIAL:
                return True
            if node.op_type in LAYOUT_ENDS or node.name in seen:
                continue
            seen.add(node.name)
            for output in node.outputs:
                spec = low.graph.values.get(output)
                if spec is None or rank is None or len(spec.shape or ()) == len(rank):
                    pending.append(output)
    return False


def _finish_output(low: Lowering, name: str, inputs: Mapping[str, Value]) -> Value:
    """Return the output in an order that a user expects, as a tensor of its own name."""
    value = low.value(name)
    if 0 in value.shape:
        raise ShapeError(f"output {name!r} has shape {value.shape}; TFLite has no empty tensors")
    if value.rank not in (4, 5) or value.permutation != channels_last(value.rank):
        value = Value(low.read(name), identity(value.rank))
    tensor = value.tensor
    is_input = any(tensor is held.tensor for held in inputs.values())
    if is_input or tensor.data is not None or id(tensor) in low.finished:
        tensor = low.emit("RESHAPE", [tensor, _sizes(tensor)], tensor.shape,
                          {"new_shape": tensor.shape}, name=f"{name}/copy")  # fmt: skip
    low.finished.add(id(tensor))
    return Value(tensor, value.permutation)


def _sizes(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.array(tensor.shape, np.int32)


def _spec(name: str, value: Value) -> TensorSpec:
    layouts = {4: Layout.NHWC, 5: Layout.NDHWC}
    is_moved = value.permutation != identity(value.rank)
    return TensorSpec(
        name=name,
        dtype=value.dtype,
        shape=value.tensor.shape,
        layout=layouts[value.rank] if is_moved else Layout.UNKNOWN,
        quantization=value.tensor.quantization,
        permutation=value.permutation if is_moved else None,
    )
