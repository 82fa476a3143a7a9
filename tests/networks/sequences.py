"""Networks over time steps: text CNNs, LSTMs and GRUs."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
from onnx import TensorProto

from networks.builder import NetBuilder
from networks.case import NetworkCase
from networks.settle import settle

VOCABULARY = 500
STEPS = 40


def text_cnn(*, tokens: bool) -> onnx.ModelProto:
    """Kim-style text CNN: three kernel widths over embeddings, max over time.

    Args:
        tokens: Whether the input is int64 token ids; else float embeddings (N, C, L).
    """
    width = 32
    net = NetBuilder("text_cnn" if tokens else "text_cnn_float")
    if tokens:
        ids = net.input("tokens", [1, STEPS], dtype=TensorProto.INT64)
        table = net.constant(net.normal(VOCABULARY, width), "embedding")
        # (N, L, C) -> (N, C, L)
        x = net.op("Transpose", net.op("Gather", table, ids, axis=0), perm=[0, 2, 1])
    else:
        x = net.input("embeddings", [1, width, STEPS])
    pooled = []
    for kernel in (3, 4, 5):
        y = net.conv(x, (width, 24), kernel, pad=0, rank=1)
        y = net.op("Relu", net.batch_norm(y, 24))
        size = STEPS - kernel + 1
        if kernel == 4:
            y = net.op("ReduceMax", y, axes=[2], keepdims=0)
        else:
            y = net.op("MaxPool", y, kernel_shape=[size], strides=[size])
            y = net.op("Squeeze", y, net.ints(2))
        pooled.append(y)
    x = net.op("Concat", *pooled, axis=1)
    net.output(net.dense(x, (72, 5), gain=4.0), "logits", shape=[1, 5])
    return settle(net.model(), highest={"tokens": VOCABULARY})


def conv1d_stack() -> onnx.ModelProto:
    """Keyword-spotting style Conv1d stack: strides, dilation, pooling over time."""
    net = NetBuilder("conv1d_stack")
    x = net.input("signal", [1, 4, 256])
    x = net.op("Relu", net.batch_norm(net.conv(x, (4, 16), 9, stride=4, rank=1), 16))
    x = net.op("MaxPool", x, kernel_shape=[2], strides=[2])
    x = net.op("Relu", net.conv(x, (16, 32), 3, dilation=2, rank=1))
    x = net.op("Relu", net.conv(x, (32, 32), 3, group=32, rank=1))
    x = net.op("AveragePool", x, kernel_shape=[4], strides=[4])
    x = net.dense(net.op("Flatten", x), (256, 6), gain=4.0)
    net.output(x, "logits", shape=[1, 6])
    return settle(net.model())


def recurrent(
    net: NetBuilder,
    x: str,
    sizes: tuple[int, int],
    *,
    kind: str,
    direction: str,
    batch: int,
    steps: int,
    **attributes: int,
) -> str:
    """Return the (L, N, D*H) sequence of one LSTM or GRU layer over x, (L, N, I)."""
    inside, hidden = sizes
    gates = {"LSTM": 4, "GRU": 3}[kind] * hidden
    directions = 2 if direction == "bidirectional" else 1
    weights = (
        net.constant(net.normal(directions, gates, inside, std=inside**-0.5), "w"),
        net.constant(net.normal(directions, gates, hidden, std=hidden**-0.5), "r"),
        net.constant(net.normal(directions, 2 * gates, std=0.1), "b"),
    )
    state = net.constant(np.zeros((directions, batch, hidden), np.float32), "state")
    states = (state, state) if kind == "LSTM" else (state,)
    y = net.op(
        kind, x, *weights, "", *states, hidden_size=hidden, direction=direction, **attributes
    )
    # (L, D, N, H) -> (L, N, D, H) -> (L, N, D*H), as PyTorch exports it
    return net.reshape(net.op("Transpose", y, perm=[0, 2, 1, 3]), steps, batch, directions * hidden)


def recurrent_classifier(
    name: str, *, kind: str, direction: str, layers: int = 1, **attributes: int
) -> onnx.ModelProto:
    """(N, L, C) -> recurrent layers -> last step and whole sequence."""
    steps, width, hidden, batch = 20, 16, 24, 1
    net = NetBuilder(name)
    # (N, L, C) -> (L, N, C)
    x = net.op("Transpose", net.input("sequence", [batch, steps, width]), perm=[1, 0, 2])
    directions = 2 if direction == "bidirectional" else 1
    for _ in range(layers):
        x = recurrent(
            net,
            x,
            (width, hidden),
            kind=kind,
            direction=direction,
            batch=batch,
            steps=steps,
            **attributes,
        )
        width = directions * hidden
    last = net.op("Gather", x, net.constant(np.array(-1, np.int64)), axis=0)
    net.output(net.dense(last, (width, 8), gain=4.0), "logits", shape=[batch, 8])
    sequence = net.op("Transpose", x, perm=[1, 0, 2])
    net.output(sequence, "states", shape=[batch, steps, width])
    return net.model()


def lstm_with_states() -> onnx.ModelProto:
    """A streaming step: both states come in and go out, so that the caller carries them."""
    net = NetBuilder("lstm_with_states")
    x = net.input("sequence", [5, 2, 12])
    states = [net.input(name, [1, 2, 16]) for name in ("h0", "c0")]
    weights = (
        net.constant(net.normal(1, 64, 12, std=0.3), "w"),
        net.constant(net.normal(1, 64, 16, std=0.25), "r"),
        net.constant(net.normal(1, 128, std=0.1), "b"),
    )
    y, h, c = net.node("LSTM", x, *weights, "", *states, outputs=3, hidden_size=16)
    net.output(net.op("Squeeze", y, net.ints(1)), "y", shape=[5, 2, 16])
    net.output(h, "h1", shape=[1, 2, 16])
    net.output(c, "c1", shape=[1, 2, 16])
    return net.model()


def _case(name: str, kind: str, direction: str, notes: str, **how: int) -> NetworkCase:
    build = partial(recurrent_classifier, name, kind=kind, direction=direction, **how)
    return NetworkCase(name, "sequence", build, notes=notes)


CASES = (
    NetworkCase(
        "text_cnn",
        "sequence",
        partial(text_cnn, tokens=True),
        highest={"tokens": VOCABULARY},
        notes="int64 tokens, Conv1d",
    ),
    NetworkCase("text_cnn_float", "sequence", partial(text_cnn, tokens=False), notes="Conv1d"),
    NetworkCase("conv1d_stack", "sequence", conv1d_stack, notes="strided, dilated, pooled"),
    _case("lstm", "LSTM", "forward", "fused operators keep state between calls"),
    _case("lstm_reverse", "LSTM", "reverse", "runs backwards"),
    _case("bilstm", "LSTM", "bidirectional", "two layers", layers=2),
    NetworkCase("lstm_with_states", "sequence", lstm_with_states, notes="states in and out"),
    _case("gru", "GRU", "forward", "PyTorch's form", linear_before_reset=1),
    _case("gru_reset_first", "GRU", "forward", "the paper's form", linear_before_reset=0),
    _case("bigru", "GRU", "bidirectional", "two layers", layers=2, linear_before_reset=1),
    _case("bigru_reset_first", "GRU", "bidirectional", "the paper's form", linear_before_reset=0),
)
