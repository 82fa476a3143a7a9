"""The light models that the onnx package carries, as shipped and with real weights.

As shipped, every weight is a ConstantOfShape of 0.02, so that all channels compute the
same and a converter that mixes them up is not noticed. The filled variants put seeded
random weights in their place and leave the rest of the graph, opset 9 and IR 3 included.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from networks.case import NetworkCase
from networks.settle import replace_values, scale_logits, settle

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
LARGE = ("bvlc_alexnet", "vgg19", "zfnet512")
NAMES = {
    "alexnet": "bvlc_alexnet",
    "densenet121": "densenet121",
    "inception_v1": "inception_v1",
    "inception_v2": "inception_v2",
    "resnet50": "resnet50",
    "shufflenet": "shufflenet",
    "squeezenet": "squeezenet",
    "vgg19": "vgg19",
    "zfnet512": "zfnet512",
}
# Which parameter of the network an input of an operator is.
ROLES = {
    "Conv": ("", "weight", "bias"),
    "Gemm": ("", "weight", "bias"),
    "BatchNormalization": ("", "scale", "bias", "mean", "var"),
    "Mul": ("scale", "scale"),
    "Add": ("bias", "bias"),
}


def shipped(name: str) -> onnx.ModelProto:
    """Return a light model as the onnx package carries it."""
    return onnx.load(FOLDER / f"light_{name}.onnx")


def shipped_with_logits(name: str) -> onnx.ModelProto:
    """Return a light model as shipped that also gives out what its softmax takes.

    Weights of 0.02 throughout make logits of up to 1e21, all equal. A softmax over them is
    decided by rounding: OpenVINO 2026.4 on the untouched squeezenet gives 0.125 for some
    classes where ONNX Runtime gives 0.001 for all. So the logits are what can be judged.
    """
    model = shipped(name)
    (probabilities,) = model.graph.output
    for value in _logits(model):
        logits = model.graph.output.add()
        logits.CopyFrom(probabilities)  # a softmax keeps the shape
        logits.name = value
    return model


def _logits(model: onnx.ModelProto) -> tuple[str, ...]:
    return tuple(node.input[0] for node in model.graph.node if node.op_type == "Softmax")


def filled(name: str) -> onnx.ModelProto:
    """Return a light model with seeded random weights, settled and of sane logits."""
    model = shipped(name)
    graph = model.graph
    roles = _roles(graph)
    rng = np.random.default_rng(list(name.encode()))
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    listed = {value.name for value in graph.input}
    nodes = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            nodes.append(node)
            continue
        shape = tuple(int(size) for size in numpy_helper.to_array(initializers[node.input[0]]))
        made = node.output[0]
        graph.initializer.append(numpy_helper.from_array(draw(rng, roles[made], shape), made))
        # IR version 3 wants every initializer among the inputs too.
        if made not in listed:
            graph.input.append(helper.make_tensor_value_info(made, 1, shape))
    for tensor in graph.initializer:
        if tensor.name in initializers and tensor.name in roles:
            replace_values(tensor, draw(rng, roles[tensor.name], tuple(tensor.dims)))
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    return _with_sane_logits(settle(model))


def draw(rng: np.random.Generator, role: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return values for one parameter: He weights, scales near 1, biases near 0."""
    values = rng.standard_normal(shape, dtype=np.float32)
    if role == "weight":
        fan_in = int(np.prod(shape[1:]))
        values *= np.float32((2.0 / fan_in) ** 0.5)
    elif role in ("scale", "var"):
        values = np.abs(np.float32(0.15) * values + np.float32(1.0)) + np.float32(0.01)
    else:
        values *= np.float32(0.1)
    return values


def _roles(graph: onnx.GraphProto) -> dict[str, str]:
    consumers: dict[str, tuple[onnx.NodeProto, int]] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            consumers[name] = (node, index)
    roles: dict[str, str] = {}
    for name, consumer in consumers.items():
        node, index = consumer
        while index == 0 and node.op_type in ("Unsqueeze", "Reshape"):
            node, index = consumers[node.output[0]]
        known = ROLES.get(node.op_type, ())
        if index < len(known) and known[index]:
            roles[name] = known[index]
    return roles


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    for field in (graph.initializer, graph.input):
        for value in [value for value in field if value.name not in used]:
            field.remove(value)


def _with_sane_logits(model: onnx.ModelProto) -> onnx.ModelProto:
    makers = {output: node for node in model.graph.node for output in node.output}
    (logits,) = _logits(model) or (model.graph.output[0].name,)
    layer = logits
    while makers[layer].op_type not in ("Conv", "Gemm"):
        layer = makers[layer].input[0]
    return scale_logits(model, layer=layer, logits=logits)


CASES = tuple(
    NetworkCase(
        name=f"{title}_shipped",
        family="light, constant weights",
        build=partial(shipped_with_logits, name),
        notes="weights are ConstantOfShape nodes; logits are judged, not the softmax of 1e21",
        judged=_logits(shipped(name)),
        constant=True,
        size="large" if name in LARGE else "small",
    )
    for title, name in NAMES.items()
) + tuple(
    NetworkCase(
        name=title,
        family="light, random weights",
        build=partial(filled, name),
        notes="opset 9, IR 3: initializers are inputs too",
        size="large" if name in LARGE else "small",
    )
    for title, name in NAMES.items()
)
