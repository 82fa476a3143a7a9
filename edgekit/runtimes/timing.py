"""How long calls take: warmed up, and in turns, so that what else runs hits all alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.tensor import DType, TensorSpec

Array = NDArray[Any]
LEAST_ROUNDS = 5
"""Rounds that are run even when the time is up; fewer give no median worth the name."""


@dataclass(frozen=True)
class Latency:
    """Times of one call, in milliseconds, over the rounds after the warm-up.

    Args:
        calls: How many were timed.
        median_ms: Half of them took no longer.
        p90_ms: Nine of ten took no longer; between two calls it is interpolated.
        p99_ms: 99 of 100 took no longer; with fewer than 100 calls, nearly the slowest.
        min_ms: The fastest, which on a shared machine says most about the engine.
        mean_ms: All of them over their number.
    """

    calls: int
    median_ms: float
    p90_ms: float
    p99_ms: float
    min_ms: float
    mean_ms: float

    @classmethod
    def from_times(cls, times_ms: Sequence[float]) -> Latency:
        """Return the figures of these times.

        Raises:
            UsageError: There are none.
        """
        if not times_ms:
            raise UsageError("0 calls were timed; time at least 1")
        values = np.asarray(times_ms, np.float64)
        # Source: Hyndman and Fan 1996, definition 7, numpy's default.
        median, p90, p99 = (float(value) for value in np.percentile(values, (50, 90, 99)))
        return cls(len(values), median, p90, p99, float(values.min()), float(values.mean()))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)


def time_in_turns(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 100,
    warmup: int = 10,
    limit_s: float = math.inf,
) -> dict[str, Latency]:
    """Time several calls, each once per round, and return the figures of each.

    One after the other would compare the machine's minutes: another job, a clock that
    drops with the heat. In turns all see the same; the order alternates from round to
    round, so that none always finds the caches as the same neighbour leaves them.

    Args:
        calls: What to time, by name.
        rounds: How often each is timed.
        warmup: Rounds before, not timed.
        limit_s: Seconds after which no new round begins, once ``LEAST_ROUNDS`` are done.

    Raises:
        UsageError: Less than one round, or nothing to time.
    """
    if rounds < 1 or warmup < 0 or not calls:
        raise UsageError(
            f"{rounds} rounds and {warmup} warm-up rounds of {len(calls)} calls; at least 1 round "
            "of 1 call is needed"
        )
    order = list(calls.items())
    for _ in range(warmup):
        for _, call in order:
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = perf_counter() + limit_s
    for done in range(rounds):
        if done >= LEAST_ROUNDS and perf_counter() > end:
            break
        for name, call in order:
            start = perf_counter_ns()
            call()
            times[name].append((perf_counter_ns() - start) / 1e6)
        order.reverse()
    return {name: Latency.from_times(values) for name, values in times.items()}


def example_inputs(
    specs: Sequence[TensorSpec], *, sizes: Mapping[str, int] | None = None, seed: int = 0
) -> dict[str, Array]:
    """Return inputs of the right names, shapes and dtypes, the same for the same seed.

    Floats are normal with deviation 1; 8-bit integers take their whole range; other
    integers, which are often indices, are 0 or 1. Real inputs show more.

    Args:
        specs: Logical inputs.
        sizes: Size of each dynamic dimension by its name; one that is absent is 1.
        seed: Of the random numbers.

    Raises:
        UsageError: An input's rank is unknown.
    """
    generator = np.random.default_rng(seed)
    return {spec.name: _example(spec, sizes or {}, generator) for spec in specs}


def _example(spec: TensorSpec, sizes: Mapping[str, int], generator: np.random.Generator) -> Array:
    if spec.shape is None:
        raise UsageError(f"input {spec.name!r} has no shape; give an input of your own")
    shape = tuple(sizes.get(dim, 1) if isinstance(dim, str) else dim for dim in spec.shape)
    if spec.dtype in (DType.UINT8, DType.INT8):
        low = 0 if spec.dtype is DType.UINT8 else -128
        return generator.integers(low, low + 256, shape).astype(spec.dtype.to_numpy())
    if spec.dtype.is_float:
        return generator.standard_normal(shape).astype(spec.dtype.to_numpy())
    return generator.integers(0, 2, shape).astype(spec.dtype.to_numpy())
