"""Small vision transformers."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx

from networks.builder import NetBuilder
from networks.case import NetworkCase

WIDTH = 64
HEADS = 4
PATCHES = 36


def vit(*, layer_norm: str, batch: int | str = 1) -> onnx.ModelProto:
    """Two-block ViT on 48 x 48 pictures: class token, learnt positions, exact Gelu.

    Args:
        layer_norm: "op" for LayerNormalization, "primitive" for the operators that
            opset 16 and older exports spell it with.
        batch: Size of the batch, or its name.
    """
    dynamic = isinstance(batch, str)
    net = NetBuilder(f"vit_{layer_norm}{'_dynamic' if dynamic else ''}")
    normalise = partial(_layer_norm if layer_norm == "op" else _primitive_norm, net)
    image = net.input("image", [batch, 3, 48, 48])
    x = net.conv(image, (3, WIDTH), 8, stride=8, pad=0)
    # (N, C, 6, 6) -> (N, C, 36) -> (N, 36, C)
    x = net.op("Transpose", _reshape_batch(net, x, WIDTH, PATCHES), perm=[0, 2, 1])
    token = net.constant(net.normal(1, 1, WIDTH), "class_token")
    if dynamic:
        token = net.op("Expand", token, _shape_with_batch(net, image, 1, WIDTH))
    x = net.op("Concat", token, x, axis=1)
    x = net.op("Add", x, net.constant(net.normal(1, PATCHES + 1, WIDTH, std=0.5), "positions"))
    for _ in range(2):
        x = net.op("Add", x, _self_attention(net, normalise(x)))
        y = net.activate(net.linear(normalise(x), (WIDTH, 4 * WIDTH), gain=2.0), "Gelu")
        x = net.op("Add", x, net.linear(y, (4 * WIDTH, WIDTH)))
    first = net.op("Gather", normalise(x), net.constant(np.array(0, np.int64)), axis=1)
    net.output(net.dense(first, (WIDTH, 10), gain=4.0), "logits", shape=[batch, 10])
    return net.model()


def _self_attention(net: NetBuilder, x: str) -> str:
    size = WIDTH // HEADS
    parts = []
    # The key is transposed for the product with the query.
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        part = _reshape_batch(net, net.linear(x, (WIDTH, WIDTH)), PATCHES + 1, HEADS, size)
        parts.append(net.op("Transpose", part, perm=perm))
    query, key, value = parts
    scores = net.op("Div", net.op("MatMul", query, key), net.floats(size**0.5))
    mixed = net.op("MatMul", net.op("Softmax", scores, axis=-1), value)
    # (N, heads, L, size) -> (N, L, heads, size) -> (N, L, C)
    mixed = net.op("Transpose", mixed, perm=[0, 2, 1, 3])
    return net.linear(_reshape_batch(net, mixed, PATCHES + 1, WIDTH), (WIDTH, WIDTH))


def _reshape_batch(net: NetBuilder, x: str, *rest: int) -> str:
    return net.reshape(x, 0, *rest)


def _shape_with_batch(net: NetBuilder, image: str, *rest: int) -> str:
    batch = net.op("Slice", net.op("Shape", image), net.ints(0), net.ints(1))
    return net.op("Concat", batch, net.ints(*rest), axis=0)


def _layer_norm(net: NetBuilder, x: str) -> str:
    scale = net.constant(net.normal(WIDTH, std=0.15, mean=1.0), "scale")
    return net.op("LayerNormalization", x, scale, net.bias(WIDTH), axis=-1, epsilon=1e-6)


def _primitive_norm(net: NetBuilder, x: str) -> str:
    centred = net.op("Sub", x, net.op("ReduceMean", x, axes=[-1]))
    variance = net.op("ReduceMean", net.op("Pow", centred, net.floats(2.0)), axes=[-1])
    deviation = net.op("Sqrt", net.op("Add", variance, net.floats(1e-6)))
    unit = net.op("Div", centred, deviation)
    scale = net.constant(net.normal(WIDTH, std=0.15, mean=1.0), "scale")
    return net.op("Add", net.op("Mul", unit, scale), net.bias(WIDTH))


CASES = (
    NetworkCase("vit", "transformer", partial(vit, layer_norm="op"), notes="LayerNormalization"),
    NetworkCase(
        "vit_primitive",
        "transformer",
        partial(vit, layer_norm="primitive"),
        notes="layer norm of ReduceMean, Sub, Pow, Sqrt, Div",
    ),
    NetworkCase(
        "vit_dynamic",
        "transformer",
        partial(vit, layer_norm="op", batch="batch"),
        shapes={"image": (1, 3, 48, 48)},
        notes="dynamic batch; Shape, Expand",
    ),
)
