"""What TensorRT would refuse, lose by or run slowly: each fault is named, and repaired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from networks.builder import NetBuilder
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from edgekit.cli.main import main
from edgekit.converters.evaluate import evaluate
from edgekit.converters.onnx_model import graph_from_bytes, write_graph
from edgekit.converters.qdq_lint import RULES, lint_qdq, repair
from edgekit.errors import TensorRtError
from edgekit.graph import Array, Graph
from edgekit.metrics import cosine
from edgekit.runtimes.tensorrt.api import open_api

SHAPE = (1, 4, 8, 8)
RNG = np.random.default_rng(5)
FEED = {"x": RNG.normal(0, 1, SHAPE).astype(np.float32)}


class Faulty(NetBuilder):
    """A builder of quantized graphs, faults and all."""

    def pair(
        self,
        name: str,
        scale: float | Array = 0.05,
        *,
        zero_point: int = 0,
        dtype: str = "int8",
        back: float | None = None,
        axis: int | None = None,
    ) -> str:
        scales = np.asarray(scale, np.float32)
        point = self.constant(np.full(scales.shape, zero_point, dtype), "point")
        extra = {} if axis is None else {"axis": axis}
        stored, real = self.unique("q"), self.unique("dq")
        inputs = [name, self.constant(scales, "scale"), point]
        self.nodes.append(
            onnx.helper.make_node("QuantizeLinear", inputs, [stored], name=stored, **extra)
        )
        other = scales if back is None else np.asarray(back, np.float32)
        inputs = [stored, self.constant(other, "scale"), point]
        self.nodes.append(
            onnx.helper.make_node("DequantizeLinear", inputs, [real], name=real, **extra)
        )
        return real

    def op(self, op_type: str, inputs: Sequence[str], name: str, **attributes: object) -> str:
        self.nodes.append(
            onnx.helper.make_node(op_type, list(inputs), [f"{name}_out"], name=name, **attributes)
        )
        return f"{name}_out"

    def weight(self, *, per_channel: bool = True, axis: int = 0, spread: float = 1.0) -> str:
        value = self.rng.normal(0, 0.2, (4, 4, 3, 3)).astype(np.float32)
        value *= np.geomspace(1, spread, 4, dtype=np.float32)[:, None, None, None]
        name = self.constant(value, "weight")
        if not per_channel:
            return self.pair(name, float(np.abs(value).max() / 127))
        others = tuple(index for index in range(4) if index != axis)
        return self.pair(name, np.abs(value).max(axis=others) / 127, axis=axis)

    def conv(self, value: str, name: str, weight: str = "", bias: str = "") -> str:
        inputs = [value, weight or self.weight(), *([bias] if bias else [])]
        return self.op("Conv", inputs, name, pads=[1, 1, 1, 1])

    def done(self, value: str, shape: Sequence[int] = SHAPE) -> Graph:
        self.op("Mul", [value, self.floats(1.5)], "end")
        self.outputs.append(
            onnx.helper.make_tensor_value_info("end_out", onnx.TensorProto.FLOAT, list(shape))
        )
        return graph_from_bytes(self.model().SerializeToString())


def _start() -> tuple[Faulty, str]:
    net = Faulty("faulty")
    net.input("x", SHAPE)
    return net, net.pair("x")


def right() -> Graph:
    """Rounded as EdgeKit writes it: inputs of layers, and the skip branch."""
    net, x = _start()
    first = net.op("Relu", [net.conv(x, "first")], "relu")
    both = net.op("Add", [net.conv(net.pair(first), "second"), net.pair(first)], "add")
    return net.done(both)


def shifted() -> Graph:
    net = Faulty("faulty")
    net.input("x", SHAPE)
    return net.done(net.conv(net.pair("x", 0.04, zero_point=-20), "conv"))


def unsigned() -> Graph:
    net = Faulty("faulty")
    net.input("x", SHAPE)
    return net.done(net.conv(net.pair("x", 0.04, zero_point=128, dtype="uint8"), "conv"))


def zero_scale() -> Graph:
    net = Faulty("faulty")
    net.input("x", SHAPE)
    return net.done(net.conv(net.pair("x", 0.0), "conv"))


def per_channel_activation() -> Graph:
    net = Faulty("faulty")
    net.input("x", SHAPE)
    scales = np.array([0.05, 0.04, 0.03, 0.05], np.float32)
    return net.done(net.conv(net.pair("x", scales, axis=1), "conv"))


def mismatch() -> Graph:
    net = Faulty("faulty")
    net.input("x", SHAPE)
    return net.done(net.conv(net.pair("x", 0.04, back=0.06), "conv"))


def shifted_weight() -> Graph:
    net, x = _start()
    value = net.rng.normal(0.1, 0.1, (4, 4, 3, 3)).astype(np.float32)
    weight = net.pair(net.constant(value), 0.004, zero_point=-30)
    return net.done(net.conv(x, "conv", weight))


def wrong_axis() -> Graph:
    net, x = _start()
    return net.done(net.conv(x, "conv", net.weight(axis=1)))


def per_tensor() -> Graph:
    net, x = _start()
    return net.done(net.conv(x, "conv", net.weight(per_channel=False, spread=20)))


def integer_bias() -> Graph:
    net, x = _start()
    bias = net.unique("bias")
    inputs = [net.constant(np.array([100, -50, 3, 7], np.int32)), net.floats(0.001)]
    net.nodes.append(onnx.helper.make_node("DequantizeLinear", inputs, [bias], name=bias))
    return net.done(net.conv(x, "conv", bias=bias))


def both_branches() -> Graph:
    net, x = _start()
    first = net.op("Relu", [net.conv(x, "first")], "relu")
    both = net.op("Add", [net.pair(net.conv(net.pair(first), "second")), net.pair(first)], "add")
    return net.done(both)


def unequal_concat() -> Graph:
    net, x = _start()
    parts = [net.pair(net.conv(x, "first"), 0.05), net.pair(net.conv(x, "second"), 0.02)]
    return net.done(net.op("Concat", parts, "join", axis=1), (1, 8, 8, 8))


def boxes_and_scores() -> Graph:
    net, x = _start()
    parts = [net.pair(net.conv(x, "boxes"), 5.0), net.pair(net.conv(x, "scores"), 0.01)]
    return net.done(net.op("Concat", parts, "join", axis=1), (1, 8, 8, 8))


def rounded_output() -> Graph:
    net, x = _start()
    result = net.pair(net.op("Sigmoid", [net.conv(x, "conv")], "sigmoid"), 1 / 127)
    net.outputs.append(
        onnx.helper.make_tensor_value_info(result, onnx.TensorProto.FLOAT, list(SHAPE))
    )
    return graph_from_bytes(net.model().SerializeToString())


def between_conv_and_relu() -> Graph:
    net, x = _start()
    return net.done(net.op("Relu", [net.pair(net.conv(x, "conv"))], "relu"))


@dataclass(frozen=True)
class Case:
    id: str
    graph: Graph
    rule: str
    severity: str
    node: str
    is_repairable: bool = True


CASES = [
    Case("zero_point", shifted(), "zero-point", "refused", "q_5"),
    Case("uint8", unsigned(), "zero-point", "refused", "q_5"),
    Case("zero_scale", zero_scale(), "scale", "refused", "q_5", is_repairable=False),
    Case("per_channel_activation", per_channel_activation(), "scale", "speed", "q_5"),
    Case("mismatch", mismatch(), "pair-mismatch", "accuracy", "q_5"),
    Case("shifted_weight", shifted_weight(), "weight-code", "refused", "conv"),
    Case("wrong_axis", wrong_axis(), "weight-axis", "speed", "conv"),
    Case("per_tensor", per_tensor(), "weight-per-tensor", "accuracy", "conv"),
    Case("bias", integer_bias(), "bias", "refused", "conv"),
    Case("residual", both_branches(), "residual", "speed", "add"),
    Case("concat", unequal_concat(), "concat", "speed", "join"),
    Case("mixed", boxes_and_scores(), "concat", "accuracy", "join", is_repairable=False),
    Case("output", rounded_output(), "output", "accuracy", "sigmoid"),
    Case("fusion", between_conv_and_relu(), "inside-fusion", "speed", "conv"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_fault_is_named(case: Case) -> None:
    found = [item for item in lint_qdq(case.graph) if item.rule == case.rule]

    assert [(item.severity, item.is_repairable) for item in found] == [
        (case.severity, case.is_repairable)
    ]
    assert found[0].node == case.node or case.node.startswith("q_")
    assert found[0].reason and found[0].fix


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.is_repairable], ids=lambda case: case.id
)
def test_the_repair_leaves_none_and_the_numbers_stay(case: Case) -> None:
    repaired, done = repair(case.graph)

    assert case.rule in {item.rule for item in done}
    assert not [item for item in lint_qdq(repaired) if item.is_repairable]
    before, after = evaluate(case.graph, FEED), evaluate(repaired, FEED)
    if case.rule != "pair-mismatch":  # whose numbers were wrong
        assert all(cosine(after[name], before[name]) > 0.995 for name in before)


def test_what_edgekit_writes_has_no_fault() -> None:
    assert lint_qdq(right()) == ()


def test_a_repaired_mismatch_gives_the_values_that_were_rounded() -> None:
    repaired, _ = repair(mismatch())

    exact = evaluate(_without_pairs(mismatch()), FEED)["end_out"]
    assert cosine(evaluate(repaired, FEED)["end_out"], exact) > 0.999


def test_every_rule_has_a_case() -> None:
    assert {case.rule for case in CASES} == set(RULES)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    def __init__(self) -> None:
        self._feeds = iter([FEED])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._feeds, None)


def test_onnx_runtimes_defaults_are_repaired_to_what_tensorrt_takes(tmp_path: Path) -> None:
    net = NetBuilder("plain")
    net.input("x", SHAPE)
    first = Faulty.op(net, "Conv", ["x", _float_weight(net)], "first", pads=[1, 1, 1, 1])  # type: ignore[arg-type]
    relu = Faulty.op(net, "Relu", [first], "relu")  # type: ignore[arg-type]
    bias = net.constant(np.array([0.1, 0.2, -0.1, 0.3], np.float32))
    second = Faulty.op(net, "Conv", [relu, _float_weight(net), bias], "second", pads=[1, 1, 1, 1])  # type: ignore[arg-type]
    both = Faulty.op(net, "Add", [second, relu], "add")  # type: ignore[arg-type]
    net.outputs.append(
        onnx.helper.make_tensor_value_info(both, onnx.TensorProto.FLOAT, list(SHAPE))
    )
    float_path, path = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    onnx.save(net.model(), float_path)
    quantize_static(
        float_path,
        path,
        _Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    graph = graph_from_bytes(path.read_bytes())

    repaired, done = repair(graph)

    assert {item.rule for item in done} >= {"zero-point", "bias", "residual", "output"}
    assert not [item for item in lint_qdq(repaired) if item.severity == "refused"]
    exact = ort.InferenceSession(str(float_path)).run(None, FEED)[0]
    assert cosine(next(iter(evaluate(repaired, FEED).values())), exact) > 0.995


def _float_weight(net: NetBuilder) -> str:
    return net.constant(net.rng.normal(0, 0.2, (4, 4, 3, 3)).astype(np.float32))


def _without_pairs(graph: Graph) -> Graph:
    from edgekit.converters.qdq_lint.edit import Edit
    from edgekit.converters.qdq_lint.pairs import PairView

    edit = Edit(graph)
    for pair in PairView(graph).pairs.values():
        if pair.is_constant:
            edit.to_float_constant(pair)
        else:
            edit.remove(pair)
    return edit.apply()


def test_the_command_names_them_and_writes_the_repaired_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, repaired = tmp_path / "int8.onnx", tmp_path / "repaired.onnx"
    write_graph(integer_bias(), path)

    status = main(["lint", str(path), "--repair", str(repaired), "--fail-on", "high"])
    text = capsys.readouterr().out
    after = main(["lint", str(repaired), "--fail-on", "high"])

    assert (status, after) == (1, 0)
    assert "refused   bias: conv" in text
    assert "1 repair, 0 left" in text
    assert "TensorRT takes its pairs as they are" in capsys.readouterr().out


def test_a_float_model_has_nothing_to_repair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "float.onnx"
    write_graph(_without_pairs(right()), path)

    assert main(["lint", str(path), "--repair", str(tmp_path / "x.onnx")]) == 2
    assert "is not quantized" in capsys.readouterr().err


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.severity == "refused" and case.is_repairable],
    ids=lambda case: case.id,
)
def test_nvidias_parser_refuses_the_fault_and_takes_the_repair(case: Case, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed here")
    broken, repaired = tmp_path / "broken.onnx", tmp_path / "repaired.onnx"
    write_graph(case.graph, broken)
    write_graph(repair(case.graph)[0], repaired)

    with pytest.raises(TensorRtError):
        _parse(broken)
    _parse(repaired)


def _parse(path: Path) -> None:
    api = open_api("rtx", needs_builder=True)
    network = api.create_network(api.create_builder(), flags=())
    api.parse(network, path)
