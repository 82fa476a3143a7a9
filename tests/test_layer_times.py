"""What each layer takes in float and in int8: whose time it is, and that none is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs pip install 'edgekit[convert]'")

from networks import REAL_MODELS  # noqa: E402
from onnx import helper  # noqa: E402
from quantize_models import minmax_ranges, noise, residual, to_graph, weights  # noqa: E402
from tiny_models import open_tiny  # noqa: E402
from tiny_onnx import build  # noqa: E402

from edgekit.calibration.sensitivity import Layer  # noqa: E402
from edgekit.converters.onnx_model import write_graph  # noqa: E402
from edgekit.converters.passes import simplify  # noqa: E402
from edgekit.converters.quantize import (  # noqa: E402
    pick_scheme,
    prepare_for_integers,
    quantize,
)
from edgekit.errors import ModelFormatError, UsageError  # noqa: E402
from edgekit.graph import Array, Graph  # noqa: E402
from edgekit.pipeline.attribution import attribute  # noqa: E402
from edgekit.pipeline.build import Built, emit, load_source  # noqa: E402
from edgekit.pipeline.check import native_runtime, open_emitted, why_not_here  # noqa: E402
from edgekit.pipeline.layer_times import measure_savings  # noqa: E402
from edgekit.pipeline.layers import integer_units  # noqa: E402
from edgekit.pipeline.progress import ignore  # noqa: E402
from edgekit.runtimes.layer_times import (  # noqa: E402
    Steps,
    StepTime,
    Way,
    middle_mean,
    time_steps,
)
from edgekit.runtimes.onnx_nodes import read_onnx_nodes  # noqa: E402
from edgekit.runtimes.options import SessionOptions  # noqa: E402
from edgekit.target import Target  # noqa: E402

PROFILED = ("onnx", "openvino")
LEAST_KNOWN = 0.95  # of an engine's time, traced to nodes of the model
ROUNDS = 5


def here(format_name: str) -> str:
    reason = why_not_here(format_name)
    if reason:
        pytest.skip(reason)
    return native_runtime(format_name) or ""


def both(
    graph: Graph, feed: Mapping[str, Array], format_name: str, folder: Path
) -> tuple[Built, Built, tuple[Layer, ...]]:
    """Return the model's float and int8 artifacts, and its layers."""
    units: list[Layer] = []

    def quantized(fitted: Graph):
        ranges = minmax_ranges(fitted, [feed])
        made = quantize(fitted, ranges, pick_scheme(format_name, "int8"))
        units.extend(integer_units(made))
        return made

    floats, integers = (Target("any", format_name, precision) for precision in ("fp32", "int8"))
    return (
        emit(graph, floats, folder, fused={}, progress=ignore),
        emit(graph, integers, folder, fused={}, progress=ignore, quantized=quantized),
        tuple(units),
    )


@contextmanager
def timed(item: Built, feed: Mapping[str, Array]) -> Iterator[Steps]:
    with (
        open_emitted(item.artifact, item.folder, preprocess={}) as plain,
        open_emitted(
            item.artifact, item.folder, preprocess={}, options=SessionOptions(profile=True)
        ) as profiled,
    ):
        yield time_steps({"it": Way(plain, profiled, feed)}, rounds=ROUNDS, warmup=1)["it"]


def network() -> Graph:
    """Return x -> conv -> SiLU -> MaxPool -> conv2 -> Relu -> Softmax."""
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c"], name="conv"),
        helper.make_node("Sigmoid", ["c"], ["s"], name="sigmoid"),
        helper.make_node("Mul", ["c", "s"], ["m"], name="mul"),
        helper.make_node("MaxPool", ["m"], ["p"], name="pool", kernel_shape=[2, 2]),
        helper.make_node("Conv", ["p", "w1"], ["c2"], name="conv2"),
        helper.make_node("Relu", ["c2"], ["r"], name="relu"),
        helper.make_node("Softmax", ["r"], ["y"], name="softmax"),
    ]
    constants = {"w0": weights(4, 3, 1, 1), "w1": weights(5, 4, 1, 1)}
    sizes = {"inputs": {"x": [1, 3, 9, 9]}, "outputs": {"y": [1, 5, 8, 8]}}
    return to_graph(build(nodes, constants=constants, **sizes))


UNITS = (
    Layer("conv", ("conv",), "Conv", work=900),
    Layer("sigmoid", ("sigmoid",), "Sigmoid", work=50),
    Layer("mul", ("mul",), "Mul", work=50),
    Layer("conv2", ("conv2", "relu"), "Conv", work=500),
)


def step(name: str, us: float, *origins: str, readers: tuple[str, ...] = ()) -> StepTime:
    return StepTime(name, "Any", origins, readers, us)


OWN = tuple(step(name, 1, name) for name in ("conv", "sigmoid", "mul", "conv2"))


def test_a_fused_step_is_shared_by_the_work_of_its_layers() -> None:
    found = attribute([step("k", 100, "conv/WithoutBiases", "mul")], UNITS, network())

    # The Sigmoid inside a SiLU is named by nothing.
    assert found.microseconds == pytest.approx({"conv": 90, "sigmoid": 5, "mul": 5, "conv2": 0})


def test_a_sigmoid_named_by_nothing_is_in_the_step_that_reads_it_and_not_in_the_conv() -> None:
    steps = [step("a", 10, "conv"), step("b", 8, "mul"), step("reorder", 2, "mul")]

    found = attribute(steps, UNITS, network())

    assert found.microseconds["conv"] == 10
    assert found.microseconds["sigmoid"] == pytest.approx(4)


def test_a_conversion_to_integers_is_paid_by_what_reads_them() -> None:
    steps = [step("q", 6, "x_quantized_QuantizeLinear"), *OWN]

    assert attribute(steps, UNITS, network()).microseconds["conv"] == 7


def test_a_conversion_to_float_is_paid_by_what_wrote_the_integers() -> None:
    steps = [*OWN, step("d", 6, "r_dequantized_DequantizeLinear_2")]

    assert attribute(steps, UNITS, network()).microseconds["conv2"] == 7


def test_what_only_moves_values_is_paid_by_what_made_them() -> None:
    steps = [*OWN, step("pool", 4, "pool")]

    assert attribute(steps, UNITS, network()).microseconds["mul"] == 5


def test_a_change_of_layout_follows_the_step_that_reads_it() -> None:
    steps = [step("reorder", 3, readers=("conv2",)), *OWN]

    assert attribute(steps, UNITS, network()).microseconds["conv2"] == 4


def test_what_stays_float_and_what_nobody_knows_are_told_apart() -> None:
    steps = [*OWN, step("s", 3, "softmax"), step("alien", 1, "alien")]

    found = attribute(steps, UNITS, network())

    assert (found.other_us, found.unknown_us) == (3, 1)
    assert found.known_share == 7 / 8


def test_one_slow_call_does_not_move_the_mean_of_the_middle() -> None:
    assert middle_mean([3, 3, 4, 4, 1000]) == pytest.approx(11 / 3)
    assert middle_mean([]) == 0


def test_the_nodes_of_a_file_are_those_that_onnx_reads(tmp_path: Path) -> None:
    write_graph(residual(), tmp_path / "model.onnx")
    wanted = onnx.load(tmp_path / "model.onnx").graph.node

    found = read_onnx_nodes(memoryview((tmp_path / "model.onnx").read_bytes()))

    assert [(n.name, n.op_type, [*n.inputs], [*n.outputs]) for n in found] == [
        (n.name, n.op_type, [*n.input], [*n.output]) for n in wanted
    ]


@pytest.mark.parametrize("size", [1, 500, 2000])
def test_a_file_that_is_cut_short_is_refused(size: int, tmp_path: Path) -> None:
    write_graph(residual(), tmp_path / "model.onnx")

    with pytest.raises(ModelFormatError):
        read_onnx_nodes(memoryview((tmp_path / "model.onnx").read_bytes()[:size]))


@pytest.mark.parametrize("format_name", PROFILED)
@pytest.mark.parametrize("precision", [0, 1], ids=["float", "int8"])
def test_nearly_all_of_an_engines_time_is_traced(
    format_name: str, precision: int, tmp_path: Path
) -> None:
    here(format_name)
    graph = residual()
    (feed,) = noise(graph, 1)
    *artifacts, units = both(graph, feed, format_name, tmp_path)
    item = artifacts[precision]

    with timed(item, feed) as steps:
        assert steps.steps is not None, "the engine measured nothing"
        found = attribute(steps.steps, units, item.graph)

    total = sum(found.microseconds.values()) + found.other_us
    assert found.known_share >= LEAST_KNOWN
    assert found.microseconds.keys() == {unit.name for unit in units}
    assert total <= steps.latency.median_ms * 1e3 * 1.001  # floats, added in another order
    assert total >= steps.latency.median_ms * 1e3 * LEAST_KNOWN


@pytest.mark.parametrize("format_name", PROFILED)
def test_a_trained_network_is_traced_to_every_layer(format_name: str, tmp_path: Path) -> None:
    here(format_name)
    if "mobileface_v2" not in REAL_MODELS:
        pytest.skip("the trained models are not beside the repository")
    graph = prepare_for_integers(simplify(load_source(REAL_MODELS["mobileface_v2"], shapes={})))
    (feed,) = noise(graph, 1)
    floats, integers, units = both(graph, feed, format_name, tmp_path)

    with timed(floats, feed) as before, timed(integers, feed) as after:
        for item, steps in ((floats, before), (integers, after)):
            found = attribute(steps.steps or (), units, item.graph)
            spent = [found.microseconds[unit.name] for unit in units if unit.weights]

            assert found.known_share >= LEAST_KNOWN
            assert min(spent) > 0
            assert sum(spent) > steps.latency.median_ms * 1e3 / 2


@pytest.mark.parametrize("format_name", [*PROFILED, "tflite"])
def test_savings_of_the_layers_add_up_to_that_of_the_model(
    format_name: str, tmp_path: Path
) -> None:
    runtime = here(format_name)
    graph = residual()
    (feed,) = noise(graph, 1)
    floats, integers, units = both(graph, feed, format_name, tmp_path)

    found = measure_savings(
        units, graph, floats, integers, lambda _: feed, preprocess={}, limit_s=0.2
    )

    assert (found.runtime, found.is_measured) == (runtime, format_name != "tflite")
    assert found.microseconds.keys() == {unit.name for unit in units}
    # Every node of this network belongs to a layer, or moves what one made.
    assert sum(found.microseconds.values()) == pytest.approx(
        found.float_us - found.int8_us, abs=0.01 * found.float_us
    )


def test_where_an_engine_tells_nothing_savings_follow_the_work(tmp_path: Path) -> None:
    here("tflite")
    graph = residual()
    (feed,) = noise(graph, 1)
    floats, integers, units = both(graph, feed, "tflite", tmp_path)

    found = measure_savings(
        units, graph, floats, integers, lambda _: feed, preprocess={}, limit_s=0.1
    )

    total = sum(unit.work for unit in units)
    shares = {unit.name: unit.work / total for unit in units}
    saved = found.float_us - found.int8_us
    assert found.microseconds == pytest.approx({n: saved * s for n, s in shares.items()})


def test_openvino_gives_a_mean_that_one_slow_call_does_not_spoil() -> None:
    here("openvino")
    import openvino as ov

    calls = [10, 10, 5000, 10, 10, 10, 10, 10]
    means = [int(np.mean(calls[: count + 1])) for count in range(len(calls))]
    executed = ov.ProfilingInfo.Status.EXECUTED
    with open_tiny("openvino", options=SessionOptions(profile=True)) as session:
        session._steps = (step("k", 0.0, "k"),)
        session._profiles = [
            [
                SimpleNamespace(
                    node_name="k", status=executed, real_time=timedelta(microseconds=mean)
                )
            ]
            for mean in means
        ]

        (found,) = session.step_times(calls=len(calls))

    assert found.microseconds == pytest.approx(10, abs=5)  # each mean is cut to whole numbers


@pytest.mark.parametrize("format_name", PROFILED)
def test_the_steps_can_be_asked_for_twice(format_name: str, tmp_path: Path) -> None:
    here(format_name)
    graph = residual()
    (feed,) = noise(graph, 1)
    floats, _, _ = both(graph, feed, format_name, tmp_path)
    options = SessionOptions(profile=True)

    with open_emitted(floats.artifact, floats.folder, preprocess={}, options=options) as session:
        session.run(feed)
        first = session.step_times(calls=1)

        assert session.step_times(calls=1) == first


def test_a_profile_is_refused_where_there_is_none() -> None:
    here("tflite")

    with pytest.raises(UsageError, match="litert does not measure its steps"):
        open_tiny("litert", options=SessionOptions(profile=True))


def test_a_profile_of_many_calls_at_once_is_refused() -> None:
    with pytest.raises(UsageError, match="'throughput'"):
        SessionOptions(profile=True, hint="throughput")


def test_steps_are_refused_where_no_profile_was_asked_for() -> None:
    here("onnx")

    with open_tiny("onnxruntime") as session, pytest.raises(UsageError, match="profile=True"):
        session.step_times(calls=1)
