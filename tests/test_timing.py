"""Timing in turns, example inputs, footprints in child processes, and the bench of all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import SHAPE, logical_specs, onnx_content, require

from edgekit.artifact import Artifact
from edgekit.bundle import Golden, Manifest, pack_golden, write_bundle
from edgekit.bundle.records import Source as ModelSource
from edgekit.errors import EngineError, RuntimeUnavailableError, UsageError
from edgekit.runtimes.bench import BenchOptions, bench
from edgekit.runtimes.footprint import measure_footprint
from edgekit.runtimes.source import Source
from edgekit.runtimes.timing import LEAST_ROUNDS, Latency, example_inputs, time_in_turns
from edgekit.tensor import DType, TensorSpec


def test_figures_are_those_of_the_times() -> None:
    # By hand, for 1..101 in shuffled order: the 90th percentile lies at index 0.9 * 100.
    times = np.random.default_rng(0).permutation(np.arange(1.0, 102.0)).tolist()

    latency = Latency.from_times(times)

    assert latency == Latency(calls=101, median_ms=51, p90_ms=91, p99_ms=100, min_ms=1, mean_ms=51)


def test_no_times_give_no_figures() -> None:
    with pytest.raises(UsageError, match="0 calls were timed"):
        Latency.from_times([])


def test_calls_are_made_in_turns_and_the_order_alternates() -> None:
    made: list[str] = []
    calls = {name: lambda name=name: made.append(name) for name in "abc"}

    time_in_turns(calls, rounds=2, warmup=1)

    assert "".join(made) == "abc" + "abc" + "cba"


def test_warm_up_is_not_counted() -> None:
    latencies = time_in_turns({"a": lambda: None}, rounds=7, warmup=5)

    assert latencies["a"].calls == 7


def test_time_limit_ends_the_rounds_but_leaves_enough_for_a_median() -> None:
    latencies = time_in_turns({"a": lambda: None}, rounds=1000, limit_s=0)

    assert latencies["a"].calls == LEAST_ROUNDS


@pytest.mark.parametrize("rounds", [0, -1])
def test_less_than_one_round_is_refused(rounds: int) -> None:
    with pytest.raises(UsageError, match="at least 1 round"):
        time_in_turns({"a": lambda: None}, rounds=rounds)


OUTPUTS = logical_specs(("sum", "product"), ("batch", 3, 4, 5))
SPECS = (
    TensorSpec("image", DType.UINT8, ("batch", 4, 5, 3)),
    TensorSpec("real", DType.FLOAT32, ("batch", 7)),
    TensorSpec("token", DType.INT64, (1, "length")),
)


def test_example_inputs_follow_the_specs_and_the_sizes() -> None:
    inputs = example_inputs(SPECS, sizes={"batch": 2})

    assert {name: (array.dtype.name, array.shape) for name, array in inputs.items()} == {
        "image": ("uint8", (2, 4, 5, 3)),
        "real": ("float32", (2, 7)),
        "token": ("int64", (1, 1)),
    }
    assert inputs["token"].max() <= 1


def test_example_inputs_are_the_same_for_the_same_seed() -> None:
    first, again, other = (example_inputs(SPECS, seed=seed)["image"] for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_input_without_a_rank_needs_one_of_the_callers_own() -> None:
    with pytest.raises(UsageError, match="input 'x' has no shape"):
        example_inputs([TensorSpec("x", DType.FLOAT32, None)])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(onnx_content(SHAPE)["model"])
    return path


def test_footprint_is_that_of_a_process_of_its_own(model: Path) -> None:
    require("onnxruntime")
    ballast = np.ones(60_000_000, np.float64)  # 480 MB, which the child must not report

    footprint = measure_footprint(model, device="onnxruntime", threads=1)

    assert ballast[0] == 1
    assert 10 < footprint.baseline_memory_mb < footprint.peak_memory_mb < 400
    assert footprint.load_ms > 0
    assert footprint.first_inference_ms > 0


def test_footprint_of_what_cannot_run_has_the_childs_last_words(tmp_path: Path) -> None:
    require("onnxruntime")
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"garbage")

    with pytest.raises(EngineError, match=r"onnxruntime failed on .*cannot load onnx-fp32"):
        measure_footprint(path, device="onnxruntime")


def test_bench_measures_every_runtime_that_opens_the_file(model: Path) -> None:
    require("onnxruntime")
    require("openvino")
    stages: list[str] = []

    report = bench(
        model, options=BenchOptions(rounds=5, with_footprint=False), progress=stages.append
    )

    assert {result.runtime for result in report.results} == {"onnxruntime", "openvino"}
    assert all(result.latency.calls == 5 for result in report.results)
    assert all(result.throughput_per_s > 0 for result in report.results)
    assert {result.size_bytes for result in report.results} == {model.stat().st_size}
    assert "time 2 in turns" in stages
    assert any(line.startswith("litert: runs tflite") for line in report.skipped)
    assert json.loads(json.dumps(report.to_json()))["results"][0]["latency"]["calls"] == 5


def test_bench_with_footprint_has_load_time_and_memory(model: Path) -> None:
    require("onnxruntime")

    report = bench(model, device="onnxruntime", options=BenchOptions(rounds=5))

    (result,) = report.results
    assert result.footprint is not None
    assert result.footprint.peak_memory_mb > 10


def test_bench_of_a_file_that_nothing_opens_lists_why(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"garbage")

    with pytest.raises(RuntimeUnavailableError, match="onnxruntime cannot load onnx-fp32"):
        bench(path)


def test_dynamic_sizes_come_from_the_goldens_of_a_bundle(tmp_path: Path) -> None:
    shape = ("batch", 3, 4, 5)
    artifact = Artifact(
        "onnx", "fp32", {"model": "m.onnx"}, logical_specs(("a", "b"), shape), OUTPUTS
    )
    ones = np.ones((7, 3, 4, 5), np.float32)
    golden = Golden("ones", {"a": ones, "b": ones}, {"sum": ones * 2, "product": ones})
    packed, files = pack_golden(golden, index=0)
    manifest = Manifest(
        name="tiny",
        source=ModelSource("tiny.onnx", "0" * 64),
        inputs=artifact.inputs,
        outputs=OUTPUTS,
        artifacts=(artifact,),
        goldens=(packed,),
    )
    bundle = write_bundle(
        tmp_path / "m.edgekit", manifest, {**files, "m.onnx": onnx_content(shape)["model"]}
    )

    assert Source(bundle).sizes() == {"batch": 7}
