"""Write a graph in an older operator set, where nothing newer than that is used.

Most operators did not change, or only learned new element types; a few moved an attribute
to an input. onnx's own converter fails downwards on nearly every model (measured on ten
exported networks), so these few are done here and anything else is refused by name.

Source: the ONNX changelog of operator sets 18 to 22.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from edgekit.converters.onnx_schema import signature
from edgekit.errors import UnsupportedOperatorError
from edgekit.graph import Array, Attribute, Graph, Node

_REDUCTIONS = tuple(
    f"Reduce{kind}"
    for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
)
# Newer versions of these only take more element types (float8, int4, bool, bfloat16).
_SAME_MEANING = frozenset(
    {
        *("Cast", "CastLike", "Constant", "ConstantOfShape", "Equal", "Flatten", "Identity"),
        *("If", "Loop", "Scan", "IsInf", "IsNaN", "Reshape", "Shape", "Size", "Squeeze"),
        *("Transpose", "Unsqueeze", "DequantizeLinear", "QuantizeLinear", "Conv", "EyeLike"),
        *("ConvTranspose", "MaxPool", "GlobalAveragePool", "GlobalMaxPool", "LSTM", "GRU", "RNN"),
        *("InstanceNormalization", "HardSigmoid", "HardSwish", "Elu", "Selu", "Softplus"),
        *("Softsign", "ThresholdedRelu", "DepthToSpace", "Round", "Sin", "Cos", "Tan", "Asin"),
        *("Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "GridSample", "Dropout"),
        *("Clip", "TopK", "NonMaxSuppression", "Where", "Gather", "LpNormalization", "Det"),
        *("AveragePool", "LpPool", "GlobalLpPool", "Pad", "Resize", "RoiAlign"),
        *("ScatterElements", "ScatterND", "MaxRoiPool", "MaxUnpool", "Multinomial", "Bernoulli"),
    }
)
# Attributes that older versions lack, with the value that means what they did.
_NEW_DEFAULTS: dict[str, Attribute] = {
    "saturate": 1,
    "antialias": 0,
    "keep_aspect_ratio_policy": "stretch",
    "noop_with_empty_axes": 0,
    "round_mode": "up",
    "block_size": 0,
    "output_dtype": 0,
}
_NEW_VALUES = {
    ("Resize", "coordinate_transformation_mode"): ("half_pixel_symmetric",),
    ("Pad", "mode"): ("wrap",),
    ("ScatterElements", "reduction"): ("max", "min"),
    ("ScatterND", "reduction"): ("max", "min"),
}
_GRID_MODES = {"linear": "bilinear", "cubic": "bicubic"}

_Rewrite = Callable[[Node, Graph, int], tuple[Node, dict[str, Array]]]


def lower_opset(graph: Graph, opset: int) -> Graph:
    """Return the graph in an older operator set; the same graph where it is old enough.

    Args:
        graph: The model.
        opset: The newest operator set to use.

    Raises:
        UnsupportedOperatorError: A node means something that the older set cannot say.
    """
    if graph.opset <= opset:
        return graph
    nodes: list[Node] = []
    constants: dict[str, Array] = dict(graph.initializers)
    for node in graph.nodes:
        lowered, added = _lowered(node, graph, opset)
        nodes.append(lowered)
        constants |= added
    return replace(graph.with_nodes(nodes, initializers=constants), opset=opset)


def _lowered(node: Node, graph: Graph, opset: int) -> tuple[Node, dict[str, Array]]:
    node = _with_lowered_bodies(node, opset)
    if node.domain:
        return node, {}
    new, old = signature(node.op_type, graph.opset), signature(node.op_type, opset)
    if new == old:
        return node, {}
    if old is None:
        raise _refusal(node, opset, "the operator is newer")
    for (op_type, name), values in _NEW_VALUES.items():
        if node.op_type == op_type and node.attributes.get(name) in values:
            raise _refusal(node, opset, f"{name}={node.attributes[name]!r} is newer")
    rewrite = _REWRITES.get(node.op_type)
    added: dict[str, Array] = {}
    if rewrite is not None:
        node, added = rewrite(node, graph, opset)
    elif node.op_type not in _SAME_MEANING:
        raise _refusal(node, opset, "its meaning has changed since")
    kept = {
        name: value
        for name, value in node.attributes.items()
        if name in old.attributes or not _is_default(name, value)
    }
    unknown = sorted(set(kept) - old.attributes)
    if unknown:
        raise _refusal(node, opset, f"attribute {unknown[0]}={kept[unknown[0]]!r} is newer")
    if sum(map(bool, node.inputs[old.max_inputs :])):
        raise _refusal(node, opset, f"input {old.max_inputs} is newer")
    return replace(node, attributes=kept, inputs=node.inputs[: old.max_inputs]), added


def _with_lowered_bodies(node: Node, opset: int) -> Node:
    bodies = {
        name: lower_opset(value, opset)
        for name, value in node.attributes.items()
        if isinstance(value, Graph)
    }
    return replace(node, attributes={**node.attributes, **bodies}) if bodies else node


def _is_default(name: str, value: Attribute) -> bool:
    if name == "dilations":
        return isinstance(value, tuple) and all(item == 1 for item in value)
    return name in _NEW_DEFAULTS and value == _NEW_DEFAULTS[name]


def _lower_reduction(node: Node, graph: Graph, opset: int) -> tuple[Node, dict[str, Array]]:
    """Turn the input ``axes`` of opset 18 into the attribute that it was."""
    name = node.input(1)
    if not name:
        if node.attribute("noop_with_empty_axes", 0):
            raise _refusal(node, opset, "noop_with_empty_axes=1 is newer")
        return node, {}
    axes = graph.initializers.get(name)
    if axes is None or not axes.size:
        raise _refusal(node, opset, f"its axes {name!r} are not constant")
    attributes: Mapping[str, Attribute] = {
        **node.attributes,
        "axes": tuple(int(axis) for axis in axes.reshape(-1)),
    }
    return replace(node, inputs=node.inputs[:1], attributes=attributes), {}


def _lower_split(node: Node, graph: Graph, opset: int) -> tuple[Node, dict[str, Array]]:
    """Write the sizes out that ``num_outputs`` of opset 18 implies."""
    count = node.attribute("num_outputs", 0)
    attributes = {name: value for name, value in node.attributes.items() if name != "num_outputs"}
    if not count or node.input(1):
        return replace(node, attributes=attributes), {}
    spec = graph.values.get(node.inputs[0])
    size = None if spec is None or spec.shape is None else spec.shape[node.attribute("axis", 0)]
    if not isinstance(size, int):
        raise _refusal(node, opset, "num_outputs is newer and the size to split is not known")
    part = -(-size // count)  # all parts equal, the last one smaller
    name = f"{node.name}.split"
    sizes = np.array([part] * (count - 1) + [size - part * (count - 1)], dtype=np.int64)
    lowered = replace(node, inputs=(node.inputs[0], name), attributes=attributes)
    return lowered, {name: sizes}


def _lower_grid_sample(node: Node, graph: Graph, opset: int) -> tuple[Node, dict[str, Array]]:
    spec = graph.values.get(node.inputs[0])
    if spec is None or spec.shape is None or len(spec.shape) != 4:
        raise _refusal(node, opset, "only pictures (rank 4) can be sampled there")
    mode = node.attribute("mode", "linear")
    attributes = {**node.attributes, "mode": _GRID_MODES.get(mode, mode)}
    return replace(node, attributes=attributes), {}


_REWRITES: dict[str, _Rewrite] = {
    **dict.fromkeys(_REDUCTIONS, _lower_reduction),
    "Split": _lower_split,
    "GridSample": _lower_grid_sample,
}


def _refusal(node: Node, opset: int, reason: str) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        node=node.name, op_type=node.op_type, reason=reason, target=f"opset {opset}"
    )
