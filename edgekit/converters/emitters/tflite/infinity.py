"""Infinite constants: where TFLite's arithmetic would lose them, the graph is refused.

LiteRT's float kernels clamp their result to the finite range, so ``x + (-inf)`` is the lowest
float. Behind a Softmax or a Sigmoid that makes no difference (a masked score stays 0); at a
graph output or in a comparison it does.
"""

from __future__ import annotations

import numpy as np

from edgekit.errors import UnsupportedOperatorError
from edgekit.graph import Graph, Node

# After these, an infinite and the largest finite input give the same result.
ABSORBS = frozenset({"Clip", "Exp", "HardSigmoid", "LogSoftmax", "Sigmoid", "Softmax", "Tanh"})
COMPARES = frozenset(
    {"Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual"}
)


def check_infinities(graph: Graph) -> None:
    """Refuse a graph whose infinite constants reach an output or a comparison.

    Raises:
        UnsupportedOperatorError: Names the node that the infinity reaches.
    """
    infinite = {
        name
        for name, array in graph.initializers.items()
        if array.dtype.kind == "f" and np.isinf(array).any()
    }
    for node in graph.nodes:
        if not infinite.intersection(node.inputs) or node.op_type in ABSORBS:
            continue
        if node.op_type in COMPARES:
            _refuse(node, "it compares with an infinite value")
        infinite.update(node.outputs)
        if infinite.intersection(node.outputs).intersection(graph.output_names):
            _refuse(node, "an infinite constant reaches a graph output")


def _refuse(node: Node, what: str) -> None:
    raise UnsupportedOperatorError(
        node=node.name,
        op_type=node.op_type,
        reason=f"{what}, which TFLite's kernels clamp to the largest finite float; "
        "use a large finite constant such as -1e30 in the model",
        target="tflite",
    )
