"""What each operator means for quantization.

That is: which of its tensors are activations, and how its output's integers relate to theirs.
"""

from __future__ import annotations

from enum import Enum

import numpy as np

from edgekit.graph import Array, Graph, Node
from edgekit.tensor import DType


class Role(Enum):
    """Kind of an operator.

    LAYER multiplies by weights. MOVE passes integers on unchanged. BLEND averages them, so that
    input and output share a code. JOIN is Concat. PICK takes one of several integers, which
    must be in one code to be compared: Max, Min. MIX combines several activations, MAP changes
    one; both have an output code of their own. FLOAT has no integer form.
    """

    LAYER = "layer"
    MOVE = "move"
    BLEND = "blend"
    JOIN = "join"
    PICK = "pick"
    MIX = "mix"
    MAP = "map"
    FLOAT = "float"


_ROLES: dict[str, Role] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul"), Role.LAYER),
    **dict.fromkeys(("MaxPool", "GlobalMaxPool", "Reshape", "Transpose", "Slice"), Role.MOVE),
    **dict.fromkeys(("Split", "Gather", "Pad", "Squeeze", "Unsqueeze", "Flatten"), Role.MOVE),
    **dict.fromkeys(("Expand", "Tile", "DepthToSpace", "SpaceToDepth", "Identity"), Role.MOVE),
    **dict.fromkeys(("ReduceMax", "ReduceMin"), Role.MOVE),
    "Resize": Role.BLEND,  # nearest: Role.MOVE
    "AveragePool": Role.BLEND,
    "Concat": Role.JOIN,
    **dict.fromkeys(("Max", "Min"), Role.PICK),
    **dict.fromkeys(("Add", "Sub", "Mul"), Role.MIX),
    **dict.fromkeys(("Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "HardSigmoid"), Role.MAP),
    **dict.fromkeys(("Sigmoid", "Tanh", "Softmax", "Elu", "Gelu"), Role.MAP),
    **dict.fromkeys(("GlobalAveragePool", "ReduceMean"), Role.MAP),
}
ACTIVATIONS = ("Relu", "Clip")
"""They fuse into the layer before them."""
_FUSES_ACTIVATION = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul")


def role_of(node: Node, graph: Graph) -> Role:
    """Return the operator's role; FLOAT where its attributes rule integers out."""
    role = Role.FLOAT if node.domain else _ROLES.get(node.op_type, Role.FLOAT)
    if role is not Role.FLOAT and not activations(node, graph):
        return Role.FLOAT
    if node.op_type == "Resize":
        mode = node.attribute("mode", "nearest")
        if node.input(1) or mode not in ("nearest", "linear"):
            return Role.FLOAT
        return Role.MOVE if mode == "nearest" else Role.BLEND
    if node.op_type == "Pad" and not _pads_with_zero(node, graph):
        return Role.FLOAT
    if role is Role.LAYER and not _is_layer(node, graph):
        return Role.FLOAT
    return role


def activations(node: Node, graph: Graph) -> tuple[str, ...]:
    """Return the node's inputs that would be integers: no constants, sizes or indices."""
    if node.op_type in ("Concat", "Max", "Min", "Add", "Sub", "Mul", "MatMul"):
        names = node.inputs
    else:
        names = node.inputs[:1]
    return tuple(n for n in names if n and n not in graph.initializers and is_float(n, graph))


def results(node: Node, graph: Graph) -> tuple[str, ...]:
    """Return the node's outputs that would be integers."""
    return tuple(name for name in node.outputs if name and is_float(name, graph))


def constant_operands(node: Node, graph: Graph) -> tuple[str, ...]:
    """Return float constants that an elementwise operator or Concat combines with activations."""
    if _ROLES.get(node.op_type) not in (Role.MIX, Role.JOIN, Role.PICK):
        return ()
    return tuple(
        name
        for name in node.inputs
        if name in graph.initializers and graph.initializers[name].dtype == np.float32
    )


def is_float(name: str, graph: Graph) -> bool:
    """Whether a tensor is float32, as far as is known."""
    if name in graph.initializers:
        return bool(graph.initializers[name].dtype == np.float32)
    spec = graph.values.get(name)
    return spec is None or spec.dtype is DType.FLOAT32


def weight_of(node: Node, graph: Graph) -> str:
    """Return the name of a layer's constant weights, ``""`` where both operands are computed."""
    name = node.input(1)
    return name if name in graph.initializers else ""


def weight_axis(node: Node, weight: Array) -> int | None:
    """Return the axis of the layer's output channels; None where there is none of its own.

    ConvTranspose in groups has its channels spread over two axes: one code for all then.
    """
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if node.attribute("group", 1) == 1 else None
    if node.op_type == "Gemm":
        return 0 if node.attribute("transB", 0) else 1
    return 1 if weight.ndim == 2 else None


def interior(graph: Graph) -> frozenset[str]:
    """Return tensors that exist in no quantized kernel: between a layer and what it fuses.

    These are the input of a fused Relu or Clip, and MatMul's result in front of its bias.
    """
    readers = graph.consumers()
    producers = graph.producers()
    found: set[str] = set()
    for node in graph.nodes:
        name = node.input(0)
        if node.op_type == "Add" and _is_bias(node, graph):
            name = next(item for item in node.inputs if item not in graph.initializers)
            makers: tuple[str, ...] = ("MatMul",)
        elif node.op_type in ACTIVATIONS and _is_fusible(node, graph):
            makers = _FUSES_ACTIVATION
        else:
            continue
        maker = producers.get(name)
        alone = len(readers.get(name, ())) == 1 and name not in graph.output_names
        if maker is not None and maker.op_type in makers and alone:
            found.add(name)
    return frozenset(found)


def _is_bias(node: Node, graph: Graph) -> bool:
    constants = [graph.initializers[name] for name in node.inputs if name in graph.initializers]
    return len(constants) == 1 and constants[0].size == max(constants[0].shape[-1:], default=0)


def _is_fusible(node: Node, graph: Graph) -> bool:
    if node.op_type == "Relu":
        return True
    low, high = (graph.initializers.get(node.input(index)) for index in (1, 2))
    if low is None or low.size != 1 or (node.input(2) and (high is None or high.size != 1)):
        return False
    return float(low.reshape(())) == 0.0 or (
        high is not None and (float(low.reshape(())), float(high.reshape(()))) == (-1.0, 1.0)
    )


def _pads_with_zero(node: Node, graph: Graph) -> bool:
    if node.attribute("mode", "constant") != "constant" or not node.input(2):
        return True
    value = graph.initializers.get(node.input(2))
    return value is not None and not value.any()


def _is_layer(node: Node, graph: Graph) -> bool:
    if node.op_type == "MatMul":
        return node.inputs[0] not in graph.initializers
    if node.op_type == "Gemm" and node.attribute("transA", 0):
        return False
    weight = weight_of(node, graph)
    return bool(weight) and graph.initializers[weight].dtype == np.float32
