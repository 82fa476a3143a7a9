"""Small TFLite models, built by hand for the tests of the writer and the reader."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.converters.emitters.tflite.model import Model, Operator, Signature, Subgraph, Tensor
from edgekit.converters.emitters.tflite.schema import Activation, Padding
from edgekit.quantization import Quantization
from edgekit.tensor import DType

F32, I8, I32 = DType.FLOAT32, DType.INT8, DType.INT32


def constant(
    name: str, data: NDArray[np.generic], quantization: Quantization | None = None
) -> Tensor:
    return Tensor(name, data.shape, DType.from_numpy(data.dtype), data, quantization)


def one_graph(inputs: list[Tensor], outputs: list[Tensor], operators: list[Operator]) -> Model:
    return Model(
        subgraphs=[Subgraph("main", inputs, outputs, operators)],
        signature=Signature({t.name: t for t in inputs}, {t.name: t for t in outputs}),
    )


def conv_relu_model(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Model:
    image = Tensor("image", (1, 8, 8, 3), F32)
    features = Tensor("features", (1, 6, 6, 4), F32)
    conv = Operator(
        "CONV_2D",
        [image, constant("w", weight), constant("b", bias)],
        [features],
        {
            "padding": Padding.VALID,
            "stride_w": 1,
            "stride_h": 1,
            "fused_activation_function": Activation.RELU,
        },
        source="/conv",
    )
    return one_graph([image], [features], [conv])


def doubling_loop() -> Model:
    """While count < limit: count += 1, value *= 2."""

    def state(prefix: str) -> list[Tensor]:
        return [Tensor(f"{prefix}_count", (), I32), Tensor(f"{prefix}_value", (3,), F32)]

    condition, body, after, start, end = map(state, ["cond", "body", "after", "count", "end"])
    goes_on = Tensor("goes_on", (), DType.BOOL)
    limit, one, two = (np.array(5, np.int32), np.array(1, np.int32), np.array(2, np.float32))
    less = Operator("LESS", [condition[0], constant("limit", limit)], [goes_on])
    add = Operator("ADD", [body[0], constant("one", one)], [after[0]])
    multiply = Operator("MUL", [body[1], constant("two", two)], [after[1]])
    loop = Operator("WHILE", [*start], end, {"cond_subgraph_index": 1, "body_subgraph_index": 2})
    return Model(
        subgraphs=[
            Subgraph("main", start, end, [loop]),
            Subgraph("cond", condition, [goes_on], [less]),
            Subgraph("body", body, after, [add, multiply]),
        ],
        signature=Signature(
            {"count": start[0], "value": start[1]}, {"count": end[0], "value": end[1]}
        ),
    )


def int8_conv_model(weight: NDArray[np.int8], bias: NDArray[np.int32]) -> Model:
    weight_scale = (0.01, 0.02, 0.03, 0.04)
    image = Tensor("image", (1, 8, 8, 3), I8, None, Quantization((0.05,), (3,)))
    features = Tensor("features", (1, 6, 6, 4), I8, None, Quantization((0.3,), (-10,)))
    per_channel = Quantization(weight_scale, (0,) * 4, axis=0)
    accumulated = Quantization(tuple(0.05 * scale for scale in weight_scale), (0,) * 4, axis=0)
    conv = Operator(
        "CONV_2D",
        [image, constant("w", weight, per_channel), constant("b", bias, accumulated)],
        [features],
        {"padding": Padding.VALID, "stride_w": 1, "stride_h": 1},
    )
    return one_graph([image], [features], [conv])
