"""Networks of fixed sizes as their exporter writes them with dynamic axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

from networks.case import graph_inputs

Axes = Mapping[int, str]
"""Names of the sizes to open, by axis."""
Integers = NDArray[np.int64]

# Optional first states of recurrent layers; where they are left out they are zero (ONNX).
STATES = {"LSTM": (5, 6), "GRU": (5,)}
# Which inputs of an operator may say a size that is now open.
READ = {**STATES, "Reshape": (1,), "Resize": (3,), "Concat": tuple(range(8))}


def open_axes(model: onnx.ModelProto, axes: Mapping[str, Axes]) -> onnx.ModelProto:
    """Return the model with these sizes of its inputs dynamic; it computes the same as before.

    What says a size that can now change is written as exporters do for dynamic axes: Reshape
    copies the sizes that it keeps, Resize takes the picture's from the input, a constant that
    is joined to every sample is expanded to their number, and recurrent layers leave first
    states out that are zero.

    Args:
        model: Of fixed sizes, its first axis the batch; not changed.
        axes: By input.
    """
    opened = _Opened(model)
    opened.rewrite()
    for value in graph_inputs(opened.model):
        for axis, name in axes[value.name].items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    for value in opened.model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del opened.model.graph.value_info[:]
    return opened.model


class _Opened:
    """A copy of a model under reconstruction."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.shapes = _known_shapes(model)
        self.constants = _constants(model)
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self._nodes: list[onnx.NodeProto] = []
        self._open = {
            "Reshape": self._open_reshape,
            "Resize": self._open_resize,
            "Concat": self._open_concat,
            **dict.fromkeys(STATES, self._open_states),
        }

    def rewrite(self) -> None:
        graph = self.model.graph
        for node in graph.node:
            given = {
                index: self.constants[node.input[index]]
                for index in READ.get(node.op_type, ())
                if index < len(node.input) and node.input[index] in self.constants
            }
            if given:
                self._open[node.op_type](node, given)
            self._nodes.append(node)
        nodes = [*self._nodes]  # they are the graph's own
        del graph.node[:]
        graph.node.extend(nodes)

    def _open_reshape(self, node: onnx.NodeProto, given: Mapping[int, Integers]) -> None:
        target = given[1].copy()
        for axis, size in enumerate(self.shapes.get(node.input[0], ())[: target.size]):
            if target[axis] not in (0, size):
                break
            target[axis] = 0
        node.input[1] = self._constant(node, "sizes", target)

    def _open_resize(self, node: onnx.NodeProto, given: Mapping[int, Integers]) -> None:
        (picture, *_) = graph_inputs(self.model)
        if list(given[3][2:]) != self.shapes[picture.name][2:]:
            return
        front = self._sizes(node, "front", node.input[0], 0, 2)
        back = self._sizes(node, "back", picture.name, 2, 4)
        node.input[3] = self._add(node, "Concat", "sizes", front, back, axis=0)

    def _open_concat(self, node: onnx.NodeProto, given: Mapping[int, Integers]) -> None:
        others = [name for index, name in enumerate(node.input) if index not in given]
        axis = helper.get_node_attr_value(node, "axis")
        for index, value in given.items():
            if not others or axis == 0 or value.ndim < 2 or value.shape[0] != 1:
                continue
            count = self._sizes(node, f"count_{index}", others[0], 0, 1)
            rest = self._constant(node, f"rest_{index}", np.array(value.shape[1:], np.int64))
            shape = self._add(node, "Concat", f"shape_{index}", count, rest, axis=0)
            node.input[index] = self._add(
                node, "Expand", f"expanded_{index}", node.input[index], shape
            )

    def _open_states(self, node: onnx.NodeProto, given: Mapping[int, Integers]) -> None:
        for index, state in given.items():
            if not state.any():
                node.input[index] = ""

    def _sizes(self, node: onnx.NodeProto, hint: str, name: str, start: int, stop: int) -> str:
        """Return some sizes of a tensor."""
        ends = [
            self._constant(node, f"{hint}_{end}", np.array([value], np.int64))
            for end, value in (("start", start), ("stop", stop))
        ]
        shape = self._add(node, "Shape", f"{hint}_shape", name)
        return self._add(node, "Slice", hint, shape, *ends)

    def _add(
        self, node: onnx.NodeProto, op: str, hint: str, *inputs: str, **attributes: int
    ) -> str:
        name = f"{node.output[0]}_{hint}"
        self._nodes.append(helper.make_node(op, [*inputs], [name], name=name, **attributes))
        return name

    def _constant(self, node: onnx.NodeProto, hint: str, values: Integers) -> str:
        name = f"{node.output[0]}_{hint}"
        self.model.graph.initializer.append(numpy_helper.from_array(values, name))
        if self.model.ir_version < 4:  # every initializer is an input too
            self.model.graph.input.append(
                helper.make_tensor_value_info(name, TensorProto.INT64, values.shape)
            )
        return name


def _known_shapes(model: onnx.ModelProto) -> dict[str, Sequence[int]]:
    graph = shape_inference.infer_shapes(model).graph
    return {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info)
    }


def _constants(model: onnx.ModelProto) -> dict[str, NDArray[np.generic]]:
    """Return the constants that ``READ`` lists, by name."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    read = {
        node.input[index]
        for node in model.graph.node
        for index in READ.get(node.op_type, ())
        if index < len(node.input)
    }
    return {name: numpy_helper.to_array(tensors[name]) for name in read if name in tensors}
