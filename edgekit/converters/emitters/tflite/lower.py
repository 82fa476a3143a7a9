"""The walk over a graph that makes a TFLite model of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from edgekit.converters.emitters.tflite.codes import signed
from edgekit.converters.emitters.tflite.focus import fuse_focus
from edgekit.converters.emitters.tflite.fuse import fuse, store_half
from edgekit.converters.emitters.tflite.infinity import check_infinities
from edgekit.converters.emitters.tflite.integer import to_integers
from edgekit.converters.emitters.tflite.layout import channels_last, identity, stored_shape
from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Model, Operator, Signature, Subgraph, Tensor
from edgekit.converters.emitters.tflite.ops import LOWERINGS
from edgekit.converters.emitters.tflite.patterns import fuse_patterns
from edgekit.converters.emitters.tflite.share import share
from edgekit.converters.emitters.tflite.value import Value
from edgekit.converters.emitters.tflite.weights_only import PRECISIONS, store_weights
from edgekit.converters.emitters.tflite.wide import to_wide
from edgekit.errors import ModelError, ShapeError, UnsupportedOperatorError
from edgekit.graph import AttributeType, Graph, Node
from edgekit.quantization import Quantization
from edgekit.quantized import QuantizedGraph
from edgekit.tensor import DType, Layout, TensorSpec

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
# Attributes that say nothing about the result of an inference, or repeat what shapes say.
IGNORED_ATTRIBUTES = frozenset(
    {
        "allowzero", "auto_pad", "axes", "ceil_mode", "cubic_coeff_a", "dilations",
        "exclude_outside", "extrapolation_value", "hidden_size", "is_test",
        "keep_aspect_ratio_policy", "kernel_shape", "momentum", "nearest_mode",
        "noop_with_empty_axes", "num_outputs", "ratio", "round_mode", "saturate", "seed", "sorted",
        "spatial", "stash_type", "storage_order", "strides", "to", "value",
    }
)  # fmt: skip


@dataclass(frozen=True)
class WatchedNode(Node):
    """A node that remembers which attributes were read, so that none is ignored silently."""

    read: set[str] = field(default_factory=set)

    def attribute(self, name: str, default: AttributeType) -> AttributeType:
        """Return an attribute, and note that it was read."""
        self.read.add(name)
        return super().attribute(name, default)


@dataclass(frozen=True)
class Lowered:
    """A lowered graph and what its inputs and outputs are as stored."""

    model: Model
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def lower(
    source: Graph | QuantizedGraph,
    *,
    precision: str = "fp32",
    io_dtype: DType = DType.FLOAT32,
) -> Lowered:
    """Return the graph as a TFLite model; nothing is written.

    Args:
        source: A float graph, or one with a table of codes, which becomes int8 kernels.
        precision: How the weights of a float graph are stored, ``"fp32"`` or ``"fp16"``;
            ``"w8"`` and ``"w8a32"`` store int8 ones, by the table's codes where it has them.
        io_dtype: What float inputs and outputs of an int8 model become: FLOAT32, INT8, UINT8;
            with int16 codes they stay float.
    """
    graph = source.graph if isinstance(source, QuantizedGraph) else source
    check_infinities(graph)
    graph = fuse_patterns(graph)
    low = Lowering(graph)
    inputs = {spec.name: _bind_input(low, spec) for spec in graph.inputs}
    for node in graph.nodes:
        low.begin(node)
        _lower_node(low, node)
    outputs = {name: _finish_output(low, name, inputs) for name in graph.output_names}
    tensors = [value.tensor for value in outputs.values()]
    operators = fuse_focus(fuse(share(low.operators, tensors), tensors), tensors)
    if precision == "fp16":
        operators = store_half(operators)
    if precision in PRECISIONS:
        operators = store_weights(
            operators,
            precision=precision,
            weight_codes=_weight_codes(low, source),
            float_sources=source.float_nodes if isinstance(source, QuantizedGraph) else (),
        )
    elif isinstance(source, QuantizedGraph):
        operators = _in_integers(low, source, operators, (inputs, outputs), io_dtype=io_dtype)
    main = Subgraph(
        "main",
        [value.tensor for value in inputs.values()],
        [value.tensor for value in outputs.values()],
        operators,
    )
    signature = Signature(
        {name: value.tensor for name, value in inputs.items()},
        {name: value.tensor for name, value in outputs.items()},
    )
    model = Model([main], signature, description=f"{graph.name}, by EdgeKit")
    return Lowered(
        model,
        tuple(_spec(name, value) for name, value in inputs.items()),
        tuple(_spec(name, value) for name, value in outputs.items()),
    )


def _in_integers(
    low: Lowering,
    source: QuantizedGraph,
    operators: Sequence[Operator],
    borders: tuple[dict[str, Value], dict[str, Value]],
    *,
    io_dtype: DType,
) -> list[Operator]:
    """Return int8 operators; the inputs and outputs of ``borders`` become the new tensors."""
    inputs, outputs = borders
    is_wide = any(code.dtype is DType.INT16 for code in source.codes.values())
    held = low.held_tensors()
    codes = {id(held[name]): signed(code) for name, code in source.codes.items() if name in held}
    for name, value in outputs.items():
        if name in source.codes:
            codes.setdefault(id(value.tensor), signed(source.codes[name]))
    convert = to_wide if is_wide else partial(to_integers, io_dtype=io_dtype)
    result = convert(
        operators,
        [value.tensor for value in inputs.values()],
        [value.tensor for value in outputs.values()],
        codes=codes,
        weight_codes=_weight_codes(low, source),
        float_sources=source.float_nodes,
    )
    for values, tensors in ((inputs, result.inputs), (outputs, result.outputs)):
        for name, tensor in zip(list(values), tensors, strict=True):
            values[name] = replace(values[name], tensor=tensor)
    return result.operators


def _weight_codes(low: Lowering, source: Graph | QuantizedGraph) -> dict[int, Quantization]:
    """Return the table's codes of weights by identity of the tensor; a float graph has none."""
    codes = source.codes if isinstance(source, QuantizedGraph) else {}
    return {
        identity_of: codes[name].quantization
        for identity_of, name in low.initializer_of.items()
        if name in codes
    }


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
    watched = _watch(node)
    try:
        lowering(low, watched)
    except ModelError:
        raise
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise UnsupportedOperatorError(
            node=node.name,
            op_type=node.op_type,
            reason=f"its inputs or attributes are not what ONNX defines ({error!r})",
            target="tflite",
        ) from error
    unread = set(node.attributes) - watched.read - IGNORED_ATTRIBUTES
    if unread:
        names = ", ".join(f"{name}={node.attributes[name]!r}" for name in sorted(unread))
        low.refuse(node, f"the lowering does not know what {names} means")


def _watch(node: Node) -> WatchedNode:
    fields = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    return WatchedNode(**fields)


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
