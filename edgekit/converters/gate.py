"""The gate after every step: a zero exit status proves nothing.

A step's result passes when the checker accepts it, every operator is known, the opset is
the one asked for, the engine loads it, and two different inputs (the second with other
sizes on dynamic axes) give the same outputs as the step before. What fails is not delivered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.converters.evaluate import evaluate
from edgekit.converters.onnx_model import check_graph
from edgekit.errors import EngineError, GateError, ModelError
from edgekit.graph import Array, Graph
from edgekit.metrics import cosine, max_abs_error
from edgekit.tensor import Dim, DType, TensorSpec

logger = logging.getLogger(__name__)

Runner = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""Inputs by name to outputs by name: any step's result, on whatever engine runs it."""


@dataclass(frozen=True)
class Limit:
    """How far a step may move an output.

    Args:
        cosine: Smallest cosine between the outputs.
        relative: Largest difference, as a part of the reference's largest magnitude.
        equal: Smallest part of an integer output that is the same (near ties may flip).
        absolute: Difference that is always allowed: ONNX Runtime's own Sigmoid is off by
            1e-7 (measured, version 1.32), which is all there is in an output of near-zeros.
    """

    cosine: float
    relative: float
    equal: float = 0.999
    absolute: float = 5e-7


EXACT = Limit(cosine=0.99999, relative=1e-4)
"""A step that keeps float32: rounding in another order only."""
HALF = Limit(cosine=0.999, relative=5e-2, equal=0.95)
"""A step that stores or computes in float16: 11-bit significands through up to 100 layers."""


def check_step(
    step: str,
    before: Graph,
    after: Graph,
    *,
    limit: Limit = EXACT,
    opset: int | None = None,
    feeds: Sequence[Mapping[str, Array]] | None = None,
) -> None:
    """Pass the graph that a step made, or name what is wrong with it.

    Args:
        step: Its name, for the message.
        before: The model before the step.
        after: The model after it.
        limit: How far outputs may move.
        opset: The operator set that the step was asked for; None for any.
        feeds: Inputs to compare on; None for two seeded ones.

    Raises:
        GateError: Something is wrong; the message names the step and the output.
        UnsupportedOperatorError: An operator is unknown.
    """
    if opset is not None and after.opset != opset:
        raise GateError(f"{step}: opset {after.opset} came out, {opset} was asked for")
    _check_names(step, before, after)
    try:
        check_graph(after)
    except ModelError as error:
        raise GateError(f"{step}: {error}") from error
    given = seeded_feeds(before.inputs) if feeds is None else feeds
    compare_runs(
        step,
        lambda feed: evaluate(before, feed),
        lambda feed: evaluate(after, feed),
        given,
        limit=limit,
    )


def compare_runs(
    step: str,
    before: Runner,
    after: Runner,
    feeds: Sequence[Mapping[str, Array]],
    *,
    limit: Limit = EXACT,
) -> None:
    """Compare two things that run on the same inputs.

    Args:
        step: What made the second from the first, for the message.
        before: The reference.
        after: What is judged.
        feeds: Inputs by name, one mapping per run.
        limit: How far outputs may move.

    Raises:
        GateError: The second does not run, lacks an output, or differs.
    """
    for feed in feeds:
        try:
            expected = before(feed)
        except EngineError as error:
            raise GateError(f"{step}: the model before it does not run: {error}") from error
        try:
            got = after(feed)
        except EngineError as error:
            raise GateError(f"{step}: its result does not run: {error}") from error
        for name, reference in expected.items():
            if name not in got:
                raise GateError(f"{step}: output {name!r} is missing from its result")
            _check_output(step, name, reference, got[name], limit)


def seeded_feeds(
    inputs: Sequence[TensorSpec], *, seed: int = 0, count: int = 2
) -> list[dict[str, Array]]:
    """Return inputs for a comparison; each has other values and other dynamic sizes.

    Args:
        inputs: The model's inputs.
        seed: Same seed, same values.
        count: How many.
    """
    feeds = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        feeds.append({spec.name: _values(spec, rng, index) for spec in inputs})
    return feeds


def _values(spec: TensorSpec, rng: np.random.Generator, index: int) -> Array:
    shape = tuple(_size(dim, axis, index) for axis, dim in enumerate(spec.shape or (1,)))
    if spec.dtype.is_float:
        return rng.standard_normal(shape).astype(spec.dtype.to_numpy())
    if spec.dtype is DType.BOOL:
        return rng.integers(0, 2, shape).astype(np.bool_)
    if spec.dtype is DType.STRING:
        return np.full(shape, "a", dtype=object)
    # Frames use the whole range of a byte; other integers mostly index something small.
    high = 256 if spec.dtype is DType.UINT8 and len(shape) >= 3 else 2
    return rng.integers(0, high, shape).astype(spec.dtype.to_numpy())


def _size(dim: Dim, axis: int, index: int) -> int:
    if isinstance(dim, int):
        return dim
    # Batches may be small; heights, widths and lengths suit networks that halve them 5 times.
    return (1, 3)[index % 2] if axis == 0 else (64, 96)[index % 2]


def _check_names(step: str, before: Graph, after: Graph) -> None:
    for kind, old, new in (
        ("inputs", before.input_names, after.input_names),
        ("outputs", before.output_names, after.output_names),
    ):
        if old != new:
            raise GateError(f"{step}: the {kind} were {list(old)} and are {list(new)} now")


def _check_output(step: str, name: str, expected: Array, got: Array, limit: Limit) -> None:
    if expected.shape != got.shape or expected.dtype != got.dtype:
        raise GateError(
            f"{step}: output {name!r} was {expected.dtype} {expected.shape} "
            f"and is {got.dtype} {got.shape} now"
        )
    if not expected.size:
        return
    if expected.dtype.kind != "f":
        equal = float(np.mean(expected == got))
        if equal < limit.equal:
            raise GateError(
                f"{step}: {100 * (1 - equal):.3g} % of output {name!r} differ from before; "
                "this model is not delivered, please report it"
            )
        return
    similarity = cosine(got, expected)
    error = max_abs_error(got, expected)
    scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0)) or 1.0
    logger.debug("%s: output %r: cosine %.8f, max error %.3g", step, name, similarity, error)
    if error <= limit.absolute:
        return
    if similarity < limit.cosine or error > limit.relative * scale:
        raise GateError(
            f"{step}: output {name!r} differs from the step before: cosine {similarity:.6f} (at "
            f"least {limit.cosine} is needed), max error {error:.3g} at values up to {scale:.3g}; "
            "this model is not delivered, please report it"
        )
