"""What a model is worth on a runtime: one metric over many samples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from edgekit.errors import UsageError
from edgekit.metrics.base import Metric
from edgekit.metrics.interval import interval, paired_interval
from edgekit.metrics.pick import pick_metric
from edgekit.runtimes.reading import Detection, Reading
from edgekit.runtimes.session import Session
from edgekit.runtimes.validation.sample import LabelledSample

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Measured:
    """A metric, and what it was measured on.

    Args:
        metric: As it was asked for, such as ``"top1"``.
        value: In the metric's unit.
        on: Runtime, version, artifact, precision and samples, in words.
        count: How many samples.
        seconds: Spent in the engine, all samples together; reading and decoding excluded.
        samples: The metric of each sample alone; NaN where one alone has none.
        higher_is_better: Whether more is better.
        record: What intervals are drawn from.
    """

    metric: str
    value: float
    on: str
    count: int
    seconds: float
    samples: tuple[float, ...] = field(repr=False)
    higher_is_better: bool = True
    record: Metric | None = field(default=None, repr=False, compare=False)

    def interval(self, *, level: float = 0.95) -> tuple[float, float]:
        """Return where the value lies on other samples of the kind; see ``metrics.interval``."""
        return interval(_record(self), level=level)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict, without the samples; a value that is no number is null."""
        low, high = self.interval()
        return {
            "metric": self.metric,
            "value": _finite(self.value),
            "interval_95": [_finite(low), _finite(high)],
            "higher_is_better": self.higher_is_better,
            "count": self.count,
            "seconds": self.seconds,
            "on": self.on,
        }


@dataclass(frozen=True)
class Drop:
    """What a model has lost against another, on the same samples.

    Args:
        absolute: In the metric's unit; positive is worse.
        relative: The same as a share of the better model's value; NaN where that is 0.
        low: Lower end of the 95 % interval of ``absolute``.
        high: Upper end.
    """

    absolute: float
    relative: float
    low: float
    high: float


def evaluate(
    session: Session,
    samples: Iterable[LabelledSample],
    metric: str,
    *,
    reading: Reading | None = None,
    samples_in_words: str = "",
    progress: Progress | None = None,
) -> Measured:
    """Return the metric of a session over the samples.

    Args:
        session: The model on its runtime.
        samples: With labels; see ``label_by`` for those that have none.
        metric: As ``pick_metric`` takes it.
        reading: How the model is fed and read; None takes tensors and the only output.
        samples_in_words: What the samples are, for ``Measured.on``.
        progress: Is told how many samples are done.

    Raises:
        UsageError: There are no samples or no labels, or the metric does not fit the model.
        InputError: A sample, or what the model gave, has the wrong shape.
    """
    how, record = reading or Reading(), pick_metric(metric)
    seconds, done = 0.0, 0
    for done, sample in enumerate(samples, start=1):
        if sample.expected is None:
            raise UsageError(
                f"{sample.origin} has no label; give a set with labels, or measure the agreement "
                "with the float model"
            )
        feed = how.feed(session, sample)
        start = time.perf_counter()
        outputs = session.run(feed)
        seconds += time.perf_counter() - start
        record.add([how.read(session, sample, outputs, record.kind)], [sample.expected])
        if progress is not None:
            progress(done)
    return Measured(
        metric=metric,
        value=record.value(),
        on=f"{in_words(session)}, {samples_in_words or f'{done} samples'}",
        count=done,
        seconds=seconds,
        samples=record.scores(),
        higher_is_better=record.higher_is_better,
        record=record,
    )


def label_by(
    reference: Session,
    samples: Iterable[LabelledSample],
    metric: str,
    *,
    reading: Reading | None = None,
) -> Iterator[LabelledSample]:
    """Yield the samples, labelled by what a (float) model says of them.

    Measured against them, a metric is the agreement with that model: of classes, boxes,
    masks or tensors. Keep them in a list to measure several models on one labelling.

    Args:
        reference: The model that is taken to be right.
        samples: With or without labels of their own.
        metric: As ``pick_metric`` takes it.
        reading: How the reference is fed and read.

    Raises:
        UsageError: The metric means nothing without true labels.
    """
    how, kind = reading or Reading(), pick_metric(metric).kind
    for sample in samples:
        # The own label's size must not decide how the reference is read.
        bare = replace(sample, expected=None)
        outputs = reference.run(how.feed(reference, bare))
        actual = how.read(reference, bare, outputs, kind)
        yield replace(sample, expected=how.label(actual, kind))


def drop(better: Measured, other: Measured) -> Drop:
    """Return what ``other`` lost against ``better``, both measured on the same samples.

    Raises:
        UsageError: They are of different metrics, or not of as many samples.
    """
    if better.metric != other.metric:
        raise UsageError(f"{better.metric} cannot be compared with {other.metric}")
    sign = 1 if better.higher_is_better else -1
    ends = sorted(sign * end for end in paired_interval(_record(better), _record(other)))
    absolute = sign * (better.value - other.value)
    relative = absolute / abs(better.value) if better.value else math.nan
    return Drop(absolute, relative, ends[0], ends[1])


def in_words(session: Session) -> str:
    """Return what a figure was measured on: artifact, runtime, version and precision."""
    return (
        f"{session.artifact.name} on {session.runtime} {session.version} "
        f"computing in {session.inference_precision}"
    )


def _record(measured: Measured) -> Metric:
    if measured.record is None:
        raise UsageError("this figure was read from a file; intervals need the measurement itself")
    return measured.record


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


__all__ = ["Detection", "Drop", "Measured", "Reading", "drop", "evaluate", "in_words", "label_by"]
