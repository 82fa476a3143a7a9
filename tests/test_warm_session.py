"""Serve now, swap later: no call is dropped, and a bad engine is never taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tiny_models import open_tiny

from edgekit.errors import EngineError, SessionClosedError
from edgekit.runtimes.session import Session
from edgekit.runtimes.warm import STAYED, SWAPPED, WARMING, Tell, WarmSession

WAIT_S = 20
FEED = {"a": np.ones((1, 3, 4, 5), np.float32), "b": np.full((1, 3, 4, 5), 2, np.float32)}


def _trusts(session: Session) -> str:
    return ""


class Gate:
    """Lets a test decide when the better engine is there."""

    def __init__(self, runtime: str = "openvino") -> None:
        self.runtime = runtime
        self.go_on = threading.Event()

    def __call__(self, tell: Tell) -> Session:
        tell("build the engine")
        while not self.go_on.wait(0.02):
            tell("build the engine")
        return open_tiny(self.runtime)


def test_it_answers_at_once_and_says_on_what() -> None:
    gate = Gate()
    with WarmSession(open_tiny("onnxruntime"), gate, judge=_trusts) as session:
        result = session.run(FEED)
        while "build" not in session.state.detail:
            time.sleep(0.01)

        assert result["sum"][0, 0, 0, 0] == 3
        assert session.runtime == "onnxruntime"
        assert session.state.stage == WARMING
        assert session.reason.endswith("warming: build the engine")


def test_it_swaps_when_the_engine_is_there() -> None:
    gate = Gate()
    with WarmSession(open_tiny("onnxruntime"), gate, judge=_trusts) as session:
        gate.go_on.set()
        state = session.wait(WAIT_S)
        result = session.run(FEED)

        assert state.stage == SWAPPED
        assert session.runtime == "openvino"
        assert result["product"][0, 0, 0, 0] == 2


def test_no_call_is_dropped_by_the_swap() -> None:
    gate = Gate()
    with WarmSession(open_tiny("onnxruntime"), gate, judge=_trusts) as session:
        stop = threading.Event()

        def call(run: Callable[[], object]) -> int:
            count = 0
            while not stop.is_set():
                run()
                count += 1
            return count

        with ThreadPoolExecutor(4) as threads:
            loops = [
                threads.submit(call, lambda: session.run(FEED)),
                threads.submit(call, lambda: session.run(FEED)),
                threads.submit(call, lambda: session.run_async(FEED).result(WAIT_S)),
                threads.submit(call, lambda: list(session.map([FEED] * 8))),
            ]
            time.sleep(0.1)
            gate.go_on.set()
            state = session.wait(WAIT_S)
            time.sleep(0.1)
            stop.set()
            counts = [loop.result(WAIT_S) for loop in loops]

    assert state.stage == SWAPPED
    assert all(count > 0 for count in counts)


def test_what_waits_in_the_queue_of_the_old_engine_is_answered() -> None:
    gate = Gate()
    with WarmSession(open_tiny("onnxruntime"), gate, judge=_trusts) as session:
        futures = [session.run_async(FEED) for _ in range(200)]
        gate.go_on.set()
        session.wait(WAIT_S)

        assert all(future.result(WAIT_S)["sum"][0, 0, 0, 0] == 3 for future in futures)


def test_an_engine_that_fails_the_goldens_is_not_taken() -> None:
    gate = Gate()
    gate.go_on.set()
    judge = lambda session: "output 'sum' has cosine 0.5"  # noqa: E731
    with WarmSession(open_tiny("onnxruntime"), gate, judge=judge) as session:
        state = session.wait(WAIT_S)

        assert state.stage == STAYED
        assert "cosine 0.5" in session.reason
        assert session.runtime == "onnxruntime"


def test_a_build_that_fails_leaves_what_answers() -> None:
    def fail(tell: Tell) -> Session:
        raise EngineError("out of memory")

    with WarmSession(open_tiny("onnxruntime"), fail, judge=_trusts) as session:
        state = session.wait(WAIT_S)

        assert state.stage == STAYED
        assert state.detail == "out of memory"
        assert session.run(FEED)["sum"][0, 0, 0, 0] == 3


def test_closing_ends_the_build() -> None:
    session = WarmSession(open_tiny("onnxruntime"), Gate(), judge=_trusts)

    session.close()

    assert session.state.stage == STAYED
    assert "closed" in session.state.detail
    with pytest.raises(SessionClosedError):
        session.run(FEED)


def test_closing_twice_is_fine() -> None:
    session = WarmSession(open_tiny("onnxruntime"), Gate(), judge=_trusts)

    session.close()
    session.close()

    assert session.wait(WAIT_S).stage == STAYED
