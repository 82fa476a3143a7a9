"""The one shape of a task metric: add batch after batch, then ask for the value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError, UsageError

Array = NDArray[Any]
Counts = NDArray[np.int64]


class Metric(ABC):
    """What a model is worth on a set of samples.

    A subclass keeps a small record of each sample, from which the value on any multiset of
    the samples follows: that is what confidence intervals are drawn from.

    Attributes:
        kind: What ``add`` takes: ``"scores"``, ``"map"``, ``"boxes"``, ``"embedding"``,
            ``"tensor"`` or, for user code, ``"outputs"``.
        higher_is_better: Whether more is better.
    """

    kind: ClassVar[str]
    higher_is_better: bool = True

    def add(self, actual: Sequence[Any] | Array, expected: Sequence[Any] | Array) -> None:
        """Take some samples in.

        Args:
            actual: What the model gave, one item (or index of the first axis) a sample.
            expected: What is right, likewise.

        Raises:
            InputError: Not as many of the one as of the other, or of a shape that the metric
                cannot take.
        """
        if len(actual) != len(expected):
            raise InputError(
                f"{len(actual)} results against {len(expected)} labels; one label a sample"
            )
        for one, right in zip(actual, expected, strict=True):
            self._add(one, right)

    def value(self, counts: Counts | None = None) -> float:
        """Return the metric over all samples.

        Args:
            counts: How often each sample counts, shape (count,); None counts each once.

        Returns:
            A value in the metric's unit; NaN where it is not defined on these samples.

        Raises:
            UsageError: No sample was added.
        """
        if not self.count:
            raise UsageError(f"{type(self).__name__} has seen no sample; add some first")
        if counts is None:
            counts = np.ones(self.count, np.int64)
        if counts.shape != (self.count,) or counts.min() < 0:
            raise UsageError(f"counts have shape {counts.shape}; {self.count} samples were added")
        return self._value(counts)

    @property
    @abstractmethod
    def count(self) -> int:
        """How many samples were added."""

    @abstractmethod
    def scores(self) -> tuple[float, ...]:
        """Return the metric of each sample alone; NaN where one alone has none."""

    @abstractmethod
    def _add(self, actual: Any, expected: Any) -> None:
        """Take one sample in."""

    @abstractmethod
    def _value(self, counts: Counts) -> float:
        """Return the metric where each sample counts so often."""


class MeanMetric(Metric):
    """A metric that is the mean of a figure of each sample."""

    def __init__(self) -> None:
        self._scores: list[float] = []

    @property
    def count(self) -> int:
        """How many samples were added."""
        return len(self._scores)

    def scores(self) -> tuple[float, ...]:
        """Return each sample's figure."""
        return tuple(self._scores)

    def _add(self, actual: Any, expected: Any) -> None:
        self._scores.append(float(self._score(actual, expected)))

    def _value(self, counts: Counts) -> float:
        return float(np.average(self._scores, weights=counts)) if counts.any() else float("nan")

    @abstractmethod
    def _score(self, actual: Any, expected: Any) -> float:
        """Return one sample's figure."""
