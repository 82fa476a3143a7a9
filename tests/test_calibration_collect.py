"""One pass counts everything once, in constant memory, and survives being killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ctrl_c import ctrl_c_interrupts, run_in_child
from numpy.typing import NDArray
from tiny_onnx import build, conv_relu

from edgekit.calibration.collect import Collected, collect
from edgekit.calibration.tally import Seen, Tallies
from edgekit.converters.onnx_model import graph_from_bytes
from edgekit.converters.tap import batchnorm_inputs, find_taps, tap_graph
from edgekit.errors import CalibrationError
from edgekit.pipeline.tap import GraphTap

Array = NDArray[Any]


@dataclass(frozen=True)
class Noise:
    """Seeded samples, made when they are asked for."""

    count: int = 12
    seed: int = 0
    bad: int = -1

    @property
    def expected(self) -> int | None:
        return self.count

    def items(self) -> Iterator[tuple[str, dict[str, Array]]]:
        for number in range(self.count):
            generator = np.random.default_rng([self.seed, number])
            values = generator.standard_normal(1000, dtype=np.float32) * (1 + number)
            if number == self.bad:
                values[3] = np.nan
            yield f"noise {number}", {"x": values}


def double(inputs: Mapping[str, Array]) -> Iterable[tuple[str, Array]]:
    yield "x", inputs["x"]
    yield "twice", inputs["x"] * 2


def run(samples: Noise, **options: Any) -> Collected:
    return collect(double, samples, names=("x", "twice"), **options)


def test_statistics_are_those_of_all_values_at_once() -> None:
    everything = np.concatenate([sample["x"] for _, sample in Noise().items()])

    seen = run(Noise()).statistics["twice"]

    assert seen.count == everything.size
    assert seen.minimum == pytest.approx(2 * everything.min())
    assert seen.maximum == pytest.approx(2 * everything.max())


def test_half_of_the_samples_are_kept_for_comparison() -> None:
    collected = run(Noise(12))

    assert collected.earlier_samples == 6
    assert collected.earlier == run(Noise(6)).statistics


@pytest.mark.parametrize("other", [Noise(11), Noise(seed=1)])
def test_other_samples_have_another_fingerprint(other: Noise) -> None:
    assert run(Noise()).fingerprint == run(Noise()).fingerprint != run(other).fingerprint


def test_nan_names_the_tensor_and_the_sample() -> None:
    with pytest.raises(
        CalibrationError, match="tensor 'x' holds NaN or infinity on sample noise 7"
    ):
        run(Noise(bad=7))


def test_no_samples_are_an_error() -> None:
    with pytest.raises(CalibrationError, match="no samples"):
        run(Noise(0))


def stop_after(count: int, state: Path) -> None:
    """Run and break off after so many samples, as a signal would."""

    def progress(number: int) -> None:
        if number == count:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Noise(), resume=state, save_every_s=0, progress=progress)


def test_a_pass_goes_on_where_it_stopped(tmp_path: Path) -> None:
    state = tmp_path / "state"
    stop_after(8, state)
    done: list[int] = []

    resumed = run(Noise(), resume=state, progress=done.append)

    assert done == [9, 10, 11, 12]
    assert resumed == run(Noise())
    assert not state.exists()


def test_a_sample_that_was_stopped_half_way_counts_not_at_all(tmp_path: Path) -> None:
    state, calls = tmp_path / "state", 0

    def stopped(inputs: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
        nonlocal calls
        calls += 1
        yield "x", inputs["x"]
        if calls == 6:
            raise KeyboardInterrupt
        yield "twice", inputs["x"] * 2

    with pytest.raises(KeyboardInterrupt):
        collect(stopped, Noise(), names=("x", "twice"), resume=state)
    done: list[int] = []
    resumed = run(Noise(), resume=state, progress=done.append)

    assert done[0] == 6
    assert resumed == run(Noise())


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_a_signal_waits_until_the_sample_is_added(tmp_path: Path) -> None:
    state = tmp_path / "state"
    run_in_child("test_calibration_collect", "interrupt_while_a_sample_is_added", state)
    done: list[int] = []

    resumed = run(Noise(), resume=state, progress=done.append)

    assert done[0] == 2
    assert resumed == run(Noise())


def interrupt_while_a_sample_is_added(state: Path) -> None:
    add = Tallies.add

    def add_after_ctrl_c(tallies: Tallies, seen: Seen) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        add(tallies, seen)

    with (
        ctrl_c_interrupts(),
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(KeyboardInterrupt),
    ):
        patch.setattr(Tallies, "add", add_after_ctrl_c)
        run(Noise(), resume=state)


def test_a_pass_that_an_error_stopped_goes_on_too(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="noise 7"):
        run(Noise(bad=7), resume=tmp_path / "state")
    done: list[int] = []

    run(Noise(), resume=tmp_path / "state", progress=done.append)

    assert done[0] == 8


def test_what_stopped_the_pass_is_told_though_the_state_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="noise 7"):
        run(Noise(bad=7), resume=tmp_path / "missing" / "state")


def test_a_state_of_other_samples_is_refused(tmp_path: Path) -> None:
    stop_after(4, tmp_path / "state")

    with pytest.raises(CalibrationError, match="other samples"):
        run(Noise(seed=1), resume=tmp_path / "state")


def test_a_state_with_more_samples_than_there_are_is_refused(tmp_path: Path) -> None:
    stop_after(8, tmp_path / "state")

    with pytest.raises(CalibrationError, match="other samples"):
        run(Noise(3), resume=tmp_path / "state")


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    stop_after(4, tmp_path / "state")

    with pytest.raises(CalibrationError, match="another model"):
        run(Noise(), model="f" * 64, resume=tmp_path / "state")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"text"])
def test_a_damaged_state_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").write_bytes(content)

    with pytest.raises(CalibrationError, match="delete it"):
        run(Noise(), resume=tmp_path / "state")


_KILLED = """
import sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_calibration_collect import Noise, run
run(Noise(), resume=Path(sys.argv[1]), save_every_s=0, progress=lambda n: time.sleep(0.1))
"""


def test_a_killed_pass_gives_the_same_after_all(tmp_path: Path) -> None:
    state = tmp_path / "state"
    folder = str(Path(__file__).parent)
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(state), folder])
    deadline = time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    was_there = state.exists()

    resumed = run(Noise(), resume=state)

    assert was_there
    assert resumed == run(Noise())


def test_memory_does_not_grow_with_the_samples() -> None:
    import tracemalloc

    peaks = []
    for count in (10, 1000):
        tracemalloc.start()
        run(Noise(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    # Kept, the samples would be 8 MB; each one's digest is 121 bytes.
    assert peaks[1] - peaks[0] < 1 << 20


def test_what_a_fused_activation_hides_is_not_measured() -> None:
    graph = graph_from_bytes(conv_relu().SerializeToString())

    assert find_taps(graph).measured == ("x", "y")


def test_what_only_moves_values_shares_their_range() -> None:
    model = build(
        [
            onnx.helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
            onnx.helper.make_node("Flatten", ["t"], ["f"]),
            onnx.helper.make_node("Sigmoid", ["f"], ["y"]),
        ],
        inputs={"x": [2, 3]},
        outputs={"y": [3, 2]},
    )

    taps = find_taps(graph_from_bytes(model.SerializeToString()))

    assert taps.measured == ("x", "y")
    assert taps.aliases == {"t": "x", "f": "x"}


@pytest.mark.parametrize("part_bytes", [1, 1 << 30])
def test_a_tap_gives_the_models_own_tensors(part_bytes: int) -> None:
    graph = graph_from_bytes(conv_relu().SerializeToString())
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)

    with GraphTap(graph, ["x", "c", "y"], part_bytes=part_bytes) as tap:
        for _ in range(2):
            seen = {name: value.copy() for name, value in tap({"x": x})}

    assert list(seen) == ["x", "c", "y"]
    assert (seen["y"] == np.maximum(seen["c"], 0)).all()
    assert len(tap_graph(graph, ["c", "y"], part_bytes=part_bytes)) == (2 if part_bytes == 1 else 1)


def test_batch_norms_tell_what_training_saw() -> None:
    ones = np.ones(3, np.float32)
    model = build(
        [onnx.helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"])],
        inputs={"x": [1, 3, 4, 4]},
        outputs={"y": [1, 3, 4, 4]},
        constants={"s": ones, "b": ones, "m": 5 * ones, "v": 4 * ones},
    )

    ((name, (mean, variance)),) = batchnorm_inputs(
        graph_from_bytes(model.SerializeToString())
    ).items()

    assert (name, mean.tolist(), variance.tolist()) == ("x", [5, 5, 5], [4, 4, 4])
