"""w8a16: every 16x8 kernel computes, on the real runtime, what its float operator means."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("ai_edge_litert")
from ai_edge_litert.interpreter import Interpreter
from integer_kernels import CASES, Case, build, float_model, model_of, run_model
from onnx import helper
from quantize_models import minmax_ranges, noise, residual, sqnr_db, to_graph
from tflite_models import constant
from tiny_onnx import build as build_model

from edgekit.converters.emitters import EMITTERS
from edgekit.converters.emitters.tflite import wide
from edgekit.converters.emitters.tflite.kernels import KERNELS
from edgekit.converters.emitters.tflite.model import Model, Operator, Tensor
from edgekit.converters.emitters.tflite.wide import WIDE_KERNELS, symmetric_code, to_wide
from edgekit.converters.evaluate import evaluate
from edgekit.converters.quantize import pick_scheme, plan_quantization, quantize
from edgekit.converters.quantize.weights import to_integers, to_reals
from edgekit.errors import UsageError
from edgekit.pipeline.check import open_emitted
from edgekit.quantization import Quantization
from edgekit.target import pick_target
from edgekit.tensor import DType

CODE = Quantization((float(np.float32(4.0 / 32767)),), (0,))
OTHER = Quantization((float(np.float32(2.5 / 32767)),), (0,))
WIDE_DB = 60.0  # 16 bits are 90 dB for a full range; a few roundings, ranges not filled
# Rounded when read and when written; sums of products of two rounded tensors a little more.
STEPS = 2
LOOKED_UP = {"TANH": 4, "LOGISTIC": 4, "SOFTMAX": 8}
"""In steps: their kernels interpolate in a table."""
HERE = [case for case in CASES if case.op in WIDE_KERNELS]


def _named(case: Case) -> str:
    return case.id


def _alone(operators: list[Operator], *_: object, **__: object) -> Collection[int]:
    return {id(operator) for operator in operators}


def feeds_of(case: Case) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(7)
    return [rng.uniform(-2, 2, t.shape).astype(np.float32) for t in build(case).inputs]


def wide_model(case: Case, result: Quantization) -> Model:
    """Return the case between a QUANTIZE and a DEQUANTIZE."""
    built = build(case)
    ends = {id(tensor) for tensor in built.operator.outputs}
    places = [key for key in built.codes if key not in ends]
    codes = dict(zip(places, (CODE, OTHER), strict=False))
    if KERNELS[case.op].shares_code:
        codes = dict.fromkeys(places, CODE)
        result = CODE
    codes |= dict.fromkeys(ends & built.codes.keys(), result)
    done = to_wide(
        [built.operator], built.inputs, built.operator.outputs, codes=codes, weight_codes={}
    )
    return model_of(done.operators, done.inputs, done.outputs)


@pytest.mark.parametrize("case", HERE, ids=_named)
def test_kernel_stays_within_steps_of_its_float_operator(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wide, "choose_integer", _alone)
    feeds = feeds_of(case)
    draft = float_model(case, wide_model(case, CODE))
    reach = run_model(draft, feeds, tmp_path / "draft.tflite", xnnpack=False)
    result = symmetric_code(np.concatenate([item.ravel() for item in reach]))

    model = wide_model(case, result)
    got = run_model(model, feeds, tmp_path / "wide.tflite", xnnpack=False)

    wanted = run_model(float_model(case, model), feeds, tmp_path / "float.tflite", xnnpack=False)
    (operator,) = (op for op in model.subgraphs[0].operators if op.op == case.op)
    code = operator.outputs[0].quantization
    assert {t.dtype for t in operator.outputs} == {DType.INT16}
    assert code is not None
    limit = LOOKED_UP.get(case.op, STEPS) * max(code.scale[0], CODE.scale[0])
    for one, other in zip(got, wanted, strict=True):
        assert np.abs(one.astype(np.float64) - other).max() <= limit


@pytest.mark.parametrize("op", ["HARD_SWISH", "PRELU", "ELU", "GELU", "EXP", "SPACE_TO_DEPTH"])
def test_what_has_no_exact_kernel_stays_float(op: str) -> None:
    case = next(case for case in CASES if case.op == op)

    model = wide_model(case, CODE)

    assert [operator.op for operator in model.subgraphs[0].operators] == [op]


def test_a_network_loses_what_its_weights_do_and_nothing_else(tmp_path: Path) -> None:
    graph = residual()
    feed = noise(graph)[0]
    made = quantize(graph, minmax_ranges(graph, noise(graph)), pick_scheme("tflite", "w8a16"))
    constants = {
        name: to_reals(to_integers(graph.initializers[name], code), code)
        for name, code in made.codes.items()
        if name in graph.initializers
    }
    stored = replace(graph, initializers={**graph.initializers, **constants})

    target = pick_target("tflite:w8a16")
    artifact = EMITTERS["tflite"].load()(made, tmp_path, target=target)

    with open_emitted(artifact, tmp_path, preprocess={}) as session:
        result = session.run(feed)["y"]
    details = Interpreter(str(tmp_path / artifact.files["model"])).get_tensor_details()
    assert sqnr_db(evaluate(stored, feed)["y"], result) > WIDE_DB
    assert {"int16", "int8", "int64"} <= {np.dtype(item["dtype"]).name for item in details}


def test_a_part_that_no_range_covers_is_not_cut_off() -> None:
    whole = Tensor("whole", (1, 8), DType.FLOAT32)
    half = Tensor("half", (1, 4), DType.FLOAT32)
    result = Tensor("result", (1, 4), DType.FLOAT32)
    cut = [
        constant("begin", np.array([0, 0], np.int32)),
        constant("size", np.array([1, 4], np.int32)),
    ]
    operators = [
        Operator("SLICE", [whole, *cut], [half], {}, "cut"),
        Operator("RELU", [half], [result], {}, "relu"),
    ]

    # The half has a range, the whole has none: it may reach further, and so stays float.
    done = to_wide(
        operators, [whole], [result], codes={id(half): CODE, id(result): CODE}, weight_codes={}
    )

    assert done.operators[0].op == "SLICE"
    assert done.operators[0].inputs[0] is whole


@pytest.mark.parametrize("target", ["onnx", "openvino", "tensorrt"])
def test_other_targets_refuse_it_by_name(target: str) -> None:
    with pytest.raises(UsageError, match=f"'{target}' cannot be 'w8a16'"):
        pick_target(f"{target}:w8a16")


def test_the_plan_says_why_an_operator_stays_float() -> None:
    node = helper.make_node("HardSwish", ["c"], ["y"], name="swish")
    conv = helper.make_node("Conv", ["x", "w"], ["c"], name="conv")
    graph = to_graph(
        build_model(
            [conv, node],
            inputs={"x": [1, 4, 8, 8]},
            outputs={"y": [1, 4, 8, 8]},
            constants={"w": np.ones((4, 4, 1, 1), np.float32)},
        )
    )
    ranges = minmax_ranges(graph, noise(graph))

    plan = plan_quantization(graph, ranges, pick_scheme("tflite", "w8a16"))

    assert plan.reasons["swish"] == "LiteRT has no int16 kernel of HardSwish that is exact"
