"""Sessions under several threads: running, streaming and closing at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from tiny_models import ALL_RUNTIMES, SHAPE, open_tiny

from edgekit.artifact import Artifact, ArtifactFiles
from edgekit.errors import EngineError, InputError, SessionClosedError, UsageError
from edgekit.runtimes.base import EngineSession
from edgekit.runtimes.matching import EngineTensor, EngineTensors
from edgekit.runtimes.options import SessionOptions
from edgekit.tensor import DType, TensorSpec

Array = np.ndarray[Any, Any]
WAIT_S = 30  # far above what any step takes; a lock that is never released fails the test


def inputs_of(value: float) -> dict[str, Array]:
    return {
        "a": np.full(SHAPE, value, np.float32),
        "b": np.full(SHAPE, 1, np.float32),
    }


@pytest.mark.parametrize("hint", ["latency", "throughput"])
@pytest.mark.parametrize("runtime", ALL_RUNTIMES)
def test_each_thread_gets_the_answer_to_its_own_question(runtime: str, hint: str) -> None:
    with (
        open_tiny(runtime, options=SessionOptions(hint=hint)) as session,
        ThreadPoolExecutor(4) as threads,
    ):
        results = list(
            threads.map(lambda value: session.run(inputs_of(value))["sum"].mean(), range(200))
        )

    assert results == [value + 1 for value in range(200)]


@pytest.mark.parametrize("runtime", ALL_RUNTIMES)
def test_close_waits_for_four_threads_that_run_and_stops_them_cleanly(runtime: str) -> None:
    session = open_tiny(runtime)
    running = threading.Barrier(5)
    ends: list[object] = []

    def run_until_closed(value: float) -> None:
        running.wait(WAIT_S)
        try:
            while True:
                mean = session.run(inputs_of(value))["sum"].mean()
                if mean != value + 1:
                    ends.append(f"{value} gave {mean}")
                    return
        except BaseException as error:  # noqa: BLE001  # whatever it is, the test shows it
            ends.append(type(error))

    threads = [threading.Thread(target=run_until_closed, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    running.wait(WAIT_S)
    session.close()
    for thread in threads:
        thread.join(WAIT_S)

    assert ends == [SessionClosedError] * 4


@pytest.mark.parametrize("runtime", ALL_RUNTIMES)
def test_map_yields_in_order(runtime: str) -> None:
    frames = (inputs_of(value) for value in range(50))
    with open_tiny(runtime, options=SessionOptions(hint="throughput")) as session:
        means = [outputs["sum"].mean() for outputs in session.map(frames, queue_size=5)]

    assert means == [value + 1 for value in range(50)]


@pytest.mark.parametrize("runtime", ALL_RUNTIMES)
def test_async_inputs_may_be_overwritten_at_once(runtime: str) -> None:
    frame = inputs_of(0)
    futures: list[Future[dict[str, Array]]] = []
    with open_tiny(runtime) as session:
        for value in range(20):
            frame["a"][...] = value
            futures.append(session.run_async(frame))
        means = [future.result(WAIT_S)["sum"].mean() for future in futures]

    assert means == [value + 1 for value in range(20)]


@pytest.mark.parametrize("queue_size", [1, 3])
def test_map_takes_no_more_frames_than_its_queue_holds(queue_size: int) -> None:
    taken = 0

    def frames() -> Iterator[dict[str, Array]]:
        nonlocal taken
        for value in range(20):
            taken += 1
            yield inputs_of(value)

    with open_tiny("onnxruntime") as session:
        for done, _ in enumerate(session.map(frames(), queue_size=queue_size)):
            assert taken - done <= queue_size


def test_map_stops_taking_frames_when_it_is_given_up() -> None:
    with open_tiny("onnxruntime") as session:
        stream = session.map((inputs_of(value) for value in range(20)), queue_size=3)
        next(stream)
        stream.close()  # type: ignore[attr-defined]

        assert session.run(inputs_of(1))["sum"].mean() == 2


def test_map_raises_for_the_wrong_frame_after_the_right_ones_before_it() -> None:
    frames = [inputs_of(0), inputs_of(1), {"a": inputs_of(2)["a"]}]
    with open_tiny("onnxruntime") as session:
        stream = session.map(frames, queue_size=1)

        assert [next(stream)["sum"].mean() for _ in range(2)] == [1, 2]
        with pytest.raises(InputError, match="'b' is missing"):
            next(stream)


def test_queue_size_below_one_is_refused_at_once() -> None:
    with open_tiny("onnxruntime") as session, pytest.raises(UsageError, match="queue size 0"):
        session.map([], queue_size=0)


@dataclass
class Steps:
    """Lets a test hold an engine inside a call."""

    entered: threading.Event
    go_on: threading.Event
    released: threading.Event


class SlowSession(EngineSession):
    """An engine whose call lasts until the test lets it go on; 13 makes it fail."""

    runtime = "slow"
    version = "1"
    steps: Steps
    _engine_errors = (ArithmeticError,)

    def _load(
        self, artifact: Artifact, files: ArtifactFiles, options: SessionOptions
    ) -> EngineTensors:
        self.steps = Steps(threading.Event(), threading.Event(), threading.Event())
        tensor = EngineTensor(("x",), DType.FLOAT32, ())
        return EngineTensors((tensor,), (replace(tensor, names=("y",)),))

    def _run(self, feed: list[Array], into: list[Array | None] | None) -> list[Array]:
        self.steps.entered.set()
        if not self.steps.go_on.wait(WAIT_S):
            raise TimeoutError
        if feed[0] == 13:
            raise ArithmeticError("thirteen")
        return [np.asarray(feed[0])]

    def _release(self) -> None:
        self.steps.released.set()


def open_slow() -> SlowSession:
    spec = TensorSpec("x", DType.FLOAT32, ())
    artifact = Artifact("slow", "fp32", {}, (spec,), (replace(spec, name="y"),))
    return SlowSession.open(artifact, None)  # type: ignore[arg-type]


X = {"x": np.asarray(1, np.float32)}


def test_engine_is_not_released_under_a_running_call() -> None:
    session = open_slow()
    with ThreadPoolExecutor(2) as threads:
        call = threads.submit(session.run, X)
        session.steps.entered.wait(WAIT_S)
        closing = threads.submit(session.close)
        was_released_early = session.steps.released.wait(0.1)
        session.steps.go_on.set()
        result = call.result(WAIT_S)
        closing.result(WAIT_S)

    assert not was_released_early
    assert session.steps.released.is_set()
    assert result["y"] == 1


def test_futures_that_wait_when_the_session_closes_say_so() -> None:
    session = open_slow()
    futures = [session.run_async(X) for _ in range(3)]
    session.steps.entered.wait(WAIT_S)
    with ThreadPoolExecutor(1) as threads:
        closing = threads.submit(session.close)
        while not session._lifetime.is_closed:
            pass
        session.steps.go_on.set()
        closing.result(WAIT_S)

    assert futures[0].result(WAIT_S)["y"] == 1
    assert [type(future.exception(WAIT_S)) for future in futures[1:]] == [SessionClosedError] * 2


def test_session_may_be_closed_from_a_callback_of_its_own_future() -> None:
    session = open_slow()
    session.steps.go_on.set()
    done = threading.Event()

    def close(_: object) -> None:
        session.close()
        done.set()

    session.run_async(X).add_done_callback(close)

    assert done.wait(WAIT_S)


def test_engine_that_fails_fails_its_own_future_only() -> None:
    session = open_slow()
    session.steps.go_on.set()
    futures = [session.run_async({"x": np.asarray(value, np.float32)}) for value in (1, 13, 2)]

    assert isinstance(futures[1].exception(WAIT_S), EngineError)
    assert "slow failed on slow-fp32: thirteen" in str(futures[1].exception())
    assert [futures[place].result(WAIT_S)["y"] for place in (0, 2)] == [1, 2]


def test_unexpected_failure_of_an_engine_leaves_the_session_closable() -> None:
    session = open_slow()
    session._engine_errors = (KeyError,)  # type: ignore[assignment,misc]
    session.steps.go_on.set()
    with pytest.raises(ArithmeticError):
        session.run({"x": np.asarray(13, np.float32)})

    session.close()

    assert session.steps.released.is_set()


def test_the_engine_goes_before_the_threads_that_ran_it() -> None:
    # OpenVINO crashes where a thread that ran an engine ends while the engine is destroyed.
    alive: list[str] = []

    class Watched(SlowSession):
        def _release(self) -> None:
            alive.extend(thread.name for thread in threading.enumerate())

    session = Watched.open(open_slow().artifact, None)  # type: ignore[arg-type]
    session.steps.go_on.set()
    session.run_async(X).result(WAIT_S)

    session.close()

    assert any(name.startswith("edgekit-slow") for name in alive)
