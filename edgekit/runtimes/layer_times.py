"""What each step of an engine takes, as the engine itself measures it.

An engine fuses, renames and adds: a step is what it runs as one kernel. ``StepTime.origins`` says
what of the file a step computes; ``pipeline.layer_times`` turns that into the model's layers.
LiteRT's Python package (2.3) and TensorRT's session give no such figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.runtimes.session import Array, Session
from edgekit.runtimes.timing import Latency, time_in_turns

if TYPE_CHECKING:
    from edgekit.runtimes.base import EngineSession


@dataclass(frozen=True)
class StepTime:
    """One kernel of an engine.

    Args:
        name: The engine's own.
        kind: The engine's word for the operator, such as ``"QLinearConv"`` or ``"Reorder"``.
        origins: Names, in the file that was loaded, of the nodes that it computes, as far as
            the engine tells; where it tells none, of the tensors' makers. Empty for what the
            engine added, such as a change of layout.
        readers: Names of the steps that read what it writes.
        microseconds: Of one call; 0 for what is there by name only.
    """

    name: str
    kind: str
    origins: tuple[str, ...]
    readers: tuple[str, ...]
    microseconds: float


@dataclass(frozen=True)
class Way:
    """One way to run a model, to be timed beside others.

    Args:
        plain: A session.
        profiled: The same opened with ``SessionOptions(profile=True)``; None where its runtime
            has no profile.
        feed: Inputs by name.
    """

    plain: Session
    profiled: EngineSession | None
    feed: Mapping[str, Array]


@dataclass(frozen=True)
class Steps:
    """What one way takes.

    Args:
        latency: Of a call of the plain session.
        steps: Scaled so that together they take its median; None without a profile.
    """

    latency: Latency
    steps: tuple[StepTime, ...] | None


def time_steps(
    ways: Mapping[str, Way], *, rounds: int = 100, warmup: int = 3, limit_s: float = math.inf
) -> dict[str, Steps]:
    """Time several ways to run a model in turns, each as a whole and step by step.

    A profile costs time of its own, and leaves out what lies between steps. So each way also
    runs without one, in the same turns, and its steps are scaled to the median of these calls.

    Args:
        ways: By name.
        rounds: How often each is run.
        warmup: Rounds before, not counted.
        limit_s: Seconds after which no new round begins; see ``time_in_turns``.

    Raises:
        UsageError: There is nothing to time.
        EngineError: A session fails.
    """
    calls = {(name, False): _call(way.plain, way.feed) for name, way in ways.items()}
    for name, way in ways.items():
        if way.profiled is not None:
            calls[name, True] = _call(way.profiled, way.feed)
    # One dictionary, so that all are timed in the same turns.
    keys = {f"{number}": key for number, key in enumerate(calls)}
    timed = time_in_turns(
        {text: calls[key] for text, key in keys.items()},
        rounds=rounds,
        warmup=warmup,
        limit_s=limit_s,
    )
    latencies = {keys[text]: latency for text, latency in timed.items()}
    found: dict[str, Steps] = {}
    for name, way in ways.items():
        plain = latencies[name, False]
        steps = None
        if way.profiled is not None:
            steps = _scaled(way.profiled.step_times(calls=plain.calls), plain.median_ms * 1e3)
        found[name] = Steps(plain, steps)
    return found


def middle_mean(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the mean of the middle half, 0 where there are none.

    Engines count in whole microseconds: the median of such counts is a whole one too, and the
    mean of all is carried off by the one call in which another process had the core.
    """
    if not len(values):
        return 0.0
    ranked, cut = np.sort(np.asarray(values, np.float64)), len(values) // 4
    return float(ranked[cut : len(values) - cut].mean())


def _call(session: Session, feed: Mapping[str, Array]) -> Callable[[], object]:
    return lambda: session.run(feed)


def _scaled(steps: Sequence[StepTime], total_us: float) -> tuple[StepTime, ...] | None:
    sum_us = sum(step.microseconds for step in steps)
    if sum_us <= 0:  # a model whose every kernel takes less than the engine's clock sees
        return None
    factor = total_us / sum_us
    return tuple(replace(step, microseconds=step.microseconds * factor) for step in steps)
