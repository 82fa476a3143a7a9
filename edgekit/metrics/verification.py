"""Do two pictures of one person look alike, and those of two persons not?"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError, UsageError
from edgekit.metrics.base import Counts, Metric

# Similarities are counted in bins, 3e-5 wide, so that a million pairs need no more memory.
_BINS = 1 << 16
_ROWS = 512
_MOST_KEPT = 2048  # samples whose pairs are kept for the next draw: 2 million, 40 MB

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class _Block:
    """Some pairs: their two samples, the bin of their similarity, and whether one person's."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    bins: NDArray[np.int32]
    is_same: NDArray[np.bool_]


class _Pairs(Metric):
    """All pairs of samples, by the cosine of their embeddings.

    A sample is an embedding, any shape, and its identity, anything that can be compared.
    """

    kind = "embedding"

    def __init__(self) -> None:
        self._embeddings: list[NDArray[np.float32]] = []
        self._identities: list[Hashable] = []
        self._kept: list[_Block] = []

    @property
    def count(self) -> int:
        """How many samples were added."""
        return len(self._embeddings)

    def scores(self) -> tuple[float, ...]:
        """Return how much nearer each sample is to its own person than to the nearest other.

        In cosines; NaN for a sample whose person has no other one.
        """
        similar = _similarities(np.stack(self._embeddings), slice(None))
        labels = _numbered(self._identities)
        is_same = labels[:, None] == labels[None]
        own = np.where(is_same & ~np.eye(len(labels), dtype=bool), similar, np.nan)
        others = np.where(is_same, -np.inf, similar).max(axis=1, initial=-1)
        return tuple(
            float(np.nanmean(row) - other) if np.isfinite(row).any() else float("nan")
            for row, other in zip(own, others, strict=True)
        )

    def rates(self, counts: Counts | None = None) -> tuple[Weights, Weights]:
        """Return which share of pairs passes at each threshold, from 1 down to -1.

        Args:
            counts: How often each sample counts; a sample makes no pair with itself.

        Returns:
            Share of pairs of two persons that pass (false accepts), and of pairs of one
            person (true accepts), each of shape (thresholds,), rising from 0 to 1.

        Raises:
            UsageError: There are not both kinds of pairs.
        """
        weights = np.ones(self.count) if counts is None else counts.astype(np.float64)
        false, true = self._histograms(weights)
        if not false.any() or not true.any():
            raise UsageError(
                f"{self.count} samples of {len(set(self._identities))} identities make no pair "
                "of one person, or none of two; at least two persons, one of them twice, are needed"
            )
        return np.cumsum(false[::-1]) / false.sum(), np.cumsum(true[::-1]) / true.sum()

    def _add(self, actual: Any, expected: Any) -> None:
        embedding = np.asarray(actual, np.float32).reshape(-1)
        if self._embeddings and embedding.shape != self._embeddings[0].shape:
            raise InputError(
                f"an embedding of {embedding.size} numbers after ones of "
                f"{self._embeddings[0].size}; all must be of one model"
            )
        norm = float(np.linalg.norm(embedding))
        # What has no direction resembles nobody.
        usable = np.isfinite(norm) and norm > 0
        self._embeddings.append(embedding / norm if usable else np.zeros_like(embedding))
        self._identities.append(expected)
        self._kept = []

    def _histograms(self, weights: Weights) -> tuple[Weights, Weights]:
        false, true = np.zeros(_BINS), np.zeros(_BINS)
        for block in self._kept or self._blocks():
            pairs = weights[block.first] * weights[block.second]
            every = np.bincount(block.bins, pairs, minlength=_BINS)
            own = np.bincount(block.bins, pairs * block.is_same, minlength=_BINS)
            true += own
            false += every - own
        return false, true

    def _blocks(self) -> Iterator[_Block]:
        embeddings, labels = np.stack(self._embeddings), _numbered(self._identities)
        keeps = len(labels) <= _MOST_KEPT
        for start in range(0, len(labels), _ROWS):
            similar = _similarities(embeddings, slice(start, start + _ROWS))
            rows = np.arange(start, start + len(similar))
            first, second = np.nonzero(np.arange(len(labels)) > rows[:, None])
            bins = np.clip((similar[first, second] + 1) * (_BINS / 2), 0, _BINS - 1)
            block = _Block(
                (first + start).astype(np.int32),
                second.astype(np.int32),
                bins.astype(np.int32),
                labels[first + start] == labels[second],
            )
            if keeps:
                self._kept.append(block)
            yield block


class EqualErrorRate(_Pairs):
    """The rate at which as many pairs of strangers pass as pairs of one person fail.

    Between two thresholds both rates are taken to change in a straight line.

    Source: ISO/IEC 19795-1:2021, section 10.6 (detection error trade-off, equal error rate).
    """

    higher_is_better = False

    def _value(self, counts: Counts) -> float:
        false, true = self.rates(counts)
        false, missed = np.append(0.0, false), np.append(1.0, 1 - true)
        after = int(np.argmax(false >= missed))
        gap_before = missed[after - 1] - false[after - 1]
        gap_after = false[after] - missed[after]
        share = gap_before / (gap_before + gap_after) if gap_before + gap_after else 0.0
        return float(false[after - 1] + share * (false[after] - false[after - 1]))


class TrueAcceptRate(_Pairs):
    """Share of pairs of one person that pass where at most ``far`` of the strangers' do.

    Args:
        far: False accept rate that is allowed, in (0, 1).

    Raises:
        UsageError: ``far`` is not in (0, 1).

    Source: ISO/IEC 19795-1:2021, section 10.6; TAR at a fixed FAR as Huang et al. 2007,
        "Labeled Faces in the Wild", and NIST FRVT report it.
    """

    def __init__(self, far: float = 1e-3) -> None:
        super().__init__()
        if not 0 < far < 1:
            raise UsageError(f"far is {far}; a rate between 0 and 1 is expected, such as 0.001")
        self.far = far

    def _value(self, counts: Counts) -> float:
        false, true = self.rates(counts)
        passing = int(np.searchsorted(false, self.far, side="right"))
        return float(true[passing - 1]) if passing else 0.0


def _similarities(embeddings: NDArray[np.float32], rows: slice) -> NDArray[np.float64]:
    unit = embeddings.astype(np.float64)
    return np.asarray(unit[rows] @ unit.T)


def _numbered(identities: list[Hashable]) -> NDArray[np.int64]:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(one, len(numbers)) for one in identities], np.int64)
