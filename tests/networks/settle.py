"""Gives random networks the statistics of trained ones.

A batch norm whose mean and variance do not fit its input lets activations explode or die
after a few layers, and a softmax over huge logits is one-hot whatever the converter did.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from networks.case import sample_inputs

# Settled statistics come from one batch; a trained network's come from many.
SPREAD = 0.1
SMALLEST_VARIANCE = 1e-3
LOGIT_STD = 2.0


def run(
    model: onnx.ModelProto, feed: dict[str, NDArray[np.generic]], names: list[str] | None = None
) -> dict[str, NDArray[np.float32]]:
    """Run a model in ONNX Runtime without its optimizer."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = names or [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def settle(model: onnx.ModelProto, *, highest: dict[str, int] | None = None) -> onnx.ModelProto:
    """Set every batch norm's mean and variance to those of its input, give or take 10 %.

    One run does: a copy of the model computes each batch norm from its own input's
    statistics, so that the layers after it see what they will see later.
    """
    measured = onnx.ModelProto()
    measured.CopyFrom(model)
    del measured.graph.node[:]
    statistics: list[tuple[onnx.NodeProto, str, str]] = []
    for node in model.graph.node:
        if node.op_type != "BatchNormalization":
            measured.graph.node.append(node)
            continue
        mean, var = f"{node.output[0]}_mean", f"{node.output[0]}_var"
        measured.graph.node.extend(_normalise_by_own_statistics(node, mean, var, model))
        statistics.append((node, mean, var))
    if not statistics:
        return model
    names = [name for _, mean, var in statistics for name in (mean, var)]
    measured.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    feed = sample_inputs(model, seed=1, highest=highest)
    values = run(measured, feed, names)

    rng = np.random.default_rng(len(statistics))
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    for node, mean, var in statistics:
        factor = 1 + SPREAD * rng.standard_normal(values[var].size).clip(-2, 2)
        variance = np.maximum(values[var].reshape(-1), SMALLEST_VARIANCE) * factor
        shift = SPREAD * np.sqrt(variance) * rng.standard_normal(variance.size)
        replace_values(initializers[node.input[3]], values[mean].reshape(-1) + shift)
        replace_values(initializers[node.input[4]], variance)
    return model


def _normalise_by_own_statistics(
    node: onnx.NodeProto, mean: str, var: str, model: onnx.ModelProto
) -> list[onnx.NodeProto]:
    x, scale, bias = node.input[:3]
    made = node.output[0]
    rank = _rank(model, x)
    axes = [0, *range(2, rank)]
    prefix = f"{made}_settle"
    size = next(t.dims[0] for t in model.graph.initializer if t.name == scale)
    shape = [1, size, *[1] * (rank - 2)]
    constants = {
        "shape": np.array(shape, np.int64),
        "floor": np.array(SMALLEST_VARIANCE, np.float32),
    }
    nodes = [
        helper.make_node("Constant", [], [f"{prefix}_{key}"], value=numpy_helper.from_array(array))
        for key, array in constants.items()
    ]

    def add(op: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    add("ReduceMean", [x], mean, axes=axes, keepdims=1)
    centred = add("Sub", [x, mean], f"{prefix}_centred")
    square = add("Mul", [centred, centred], f"{prefix}_square")
    add("ReduceMean", [square], var, axes=axes, keepdims=1)
    floored = add("Add", [var, f"{prefix}_floor"], f"{prefix}_floored")
    unit = add("Div", [centred, add("Sqrt", [floored], f"{prefix}_std")], f"{prefix}_unit")
    wide = add("Reshape", [scale, f"{prefix}_shape"], f"{prefix}_scale")
    shift = add("Reshape", [bias, f"{prefix}_shape"], f"{prefix}_bias")
    add("Add", [add("Mul", [unit, wide], f"{prefix}_scaled"), shift], made)
    return nodes


def _rank(model: onnx.ModelProto, name: str) -> int:
    # A batch norm normalises what a convolution made here, and that has its kernel's rank.
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    while name in makers:
        node = makers[name]
        if node.op_type == "Conv" and node.input[1] in initializers:
            return len(initializers[node.input[1]].dims)
        name = node.input[0]
    return next(
        len(value.type.tensor_type.shape.dim) for value in model.graph.input if value.name == name
    )


def scale_logits(model: onnx.ModelProto, *, layer: str, logits: str) -> onnx.ModelProto:
    """Scale the weights of the last layer so that the logits vary by ``LOGIT_STD``."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.append(onnx.ValueInfoProto(name=logits))
    std = float(run(probe, sample_inputs(model, seed=1), [logits])[logits].std())
    makers = {output: node for node in model.graph.node for output in node.output}
    weight = makers[layer].input[1]
    while weight in makers:  # a reshaped initializer
        weight = makers[weight].input[0]
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == weight)
    replace_values(tensor, numpy_helper.to_array(tensor) * (LOGIT_STD / std))
    return model


def replace_values(tensor: onnx.TensorProto, values: NDArray[np.floating]) -> None:
    """Put other float32 values in a tensor of the same shape."""
    array = np.ascontiguousarray(values, np.float32).reshape(tuple(tensor.dims))
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def fold_batch_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold each batch norm into the bias-free convolution before it, as exporters do."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    kept: list[onnx.NodeProto] = []
    for node in model.graph.node:
        conv = makers.get(node.input[0]) if node.input else None
        if node.op_type != "BatchNormalization" or conv is None or conv.op_type != "Conv":
            kept.append(node)
            continue
        scale, bias, mean, var = (
            numpy_helper.to_array(initializers[name]) for name in node.input[1:]
        )
        factor = scale / np.sqrt(var + np.float32(1e-5))
        weight = initializers[conv.input[1]]
        values = numpy_helper.to_array(weight)
        replace_values(weight, values * factor.reshape(-1, *[1] * (values.ndim - 1)))
        replace_values(initializers[node.input[2]], bias - mean * factor)
        conv.input.append(node.input[2])
        conv.output[0] = node.output[0]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    unused = [tensor for tensor in model.graph.initializer if tensor.name not in used]
    for tensor in unused:
        model.graph.initializer.remove(tensor)
    return model
