"""Are the boxes right, and do the right ones have the higher scores?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.metrics.base import Counts, Metric
from edgekit.metrics.boxes import overlaps

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MAX_BOXES = 100  # of one class on one picture

_EPSILON = float(np.spacing(1))


@dataclass(frozen=True)
class _Matched:
    """One class on one picture.

    Args:
        sample: Which picture.
        scores: Of the boxes found, shape (n,), best first.
        is_right: Whether each is a true positive, shape (thresholds, n).
        is_left_out: Whether it lies on a crowd and is neither right nor wrong, likewise.
        wanted: How many boxes there are to find.
    """

    sample: int
    scores: NDArray[np.float64]
    is_right: NDArray[np.bool_]
    is_left_out: NDArray[np.bool_]
    wanted: int


class MeanAveragePrecision(Metric):
    """COCO's mAP: mean over classes and ten IoU thresholds of the average precision.

    Precision is read at 101 recalls, all areas, at most 100 boxes of a class and picture. A
    class that no picture holds is left out. A sample is rows (n, 6): left, top, right,
    bottom, score, class; its label rows (m, 5) without the score, or (m, 6) with 1 in the
    last column for a crowd, on which boxes are neither right nor wrong.

    Args:
        iou: One threshold instead of the ten; 0 takes the ten.

    Source: Lin et al. 2014, "Microsoft COCO", and the evaluation code that defines the
        benchmark, pycocotools.cocoeval (``evaluateImg``, ``accumulate``).
    """

    kind = "boxes"

    def __init__(self, iou: float = 0.0) -> None:
        self.ious = np.array([iou]) if iou else IOUS
        self._matched: dict[int, list[_Matched]] = {}
        self._count = 0

    @property
    def count(self) -> int:
        """How many pictures were added."""
        return self._count

    def scores(self) -> tuple[float, ...]:
        """Return each picture's own mAP; NaN where it holds nothing to find."""
        by_sample: dict[int, list[float]] = {}
        for items in self._matched.values():
            for item in items:
                if item.wanted:
                    own = _average_precision([item], np.ones(self._count, np.int64))
                    by_sample.setdefault(item.sample, []).append(own)
        return tuple(
            float(np.mean(by_sample[sample])) if sample in by_sample else float("nan")
            for sample in range(self._count)
        )

    def per_class(self, counts: Counts | None = None) -> dict[int, float]:
        """Return the average precision of each class that there is something to find of."""
        weights = np.ones(self._count, np.int64) if counts is None else counts
        return {
            label: _average_precision(items, weights)
            for label, items in sorted(self._matched.items())
            if sum(item.wanted * weights[item.sample] for item in items)
        }

    def _add(self, actual: Any, expected: Any) -> None:
        found, wanted = _rows(actual, (6,), "boxes"), _rows(expected, (5, 6), "labels")
        for label in np.union1d(found[:, 5], wanted[:, 4]):
            boxes = found[found[:, 5] == label]
            matched = self._match(boxes, wanted[wanted[:, 4] == label])
            self._matched.setdefault(int(label), []).append(matched)
        self._count += 1

    def _value(self, counts: Counts) -> float:
        values = list(self.per_class(counts).values())
        return float(np.mean(values)) if values else float("nan")

    def _match(self, found: NDArray[Any], wanted: NDArray[Any]) -> _Matched:
        found = found[np.argsort(-found[:, 4], kind="stable")][:MAX_BOXES]
        is_crowd = wanted[:, 5] > 0 if wanted.shape[1] > 5 else np.zeros(len(wanted), bool)
        order = np.argsort(is_crowd, kind="stable")
        wanted, is_crowd = wanted[order], is_crowd[order]
        iou = overlaps(found[:, :4], wanted[:, :4])
        iou[:, is_crowd] = overlaps(found[:, :4], wanted[is_crowd, :4], of_first=True)
        matches = np.stack([_assign(iou, is_crowd, limit) for limit in self.ious])
        # The extra False is what -1, no match, points to.
        on_crowd = np.append(is_crowd, False)[matches]
        return _Matched(
            self._count,
            found[:, 4].astype(np.float64),
            (matches >= 0) & ~on_crowd,
            on_crowd,
            int((~is_crowd).sum()),
        )


def _assign(iou: NDArray[np.float64], is_crowd: NDArray[Any], limit: float) -> NDArray[np.int64]:
    """Return the label that each box takes, best box first; -1 for none.

    A crowd comes after all others and may be taken again and again; of equals the last wins.
    """
    taken = np.full(len(iou), -1, np.int64)
    is_free = np.ones(iou.shape[1], bool)
    least = min(limit, 1 - 1e-10)
    for box in np.flatnonzero((iou >= least).any(axis=1)):
        reachable = is_free & (iou[box] >= least)
        if (reachable & ~is_crowd).any():
            reachable &= ~is_crowd
        if not reachable.any():
            continue
        best = np.where(reachable, iou[box], -1.0)
        label = len(best) - 1 - int(best[::-1].argmax())
        taken[box] = label
        is_free[label] = bool(is_crowd[label])
    return taken


def _average_precision(items: list[_Matched], counts: Counts) -> float:
    wanted = sum(item.wanted * int(counts[item.sample]) for item in items)
    scores = np.concatenate([item.scores for item in items])
    weights = np.concatenate(
        [np.full(len(item.scores), counts[item.sample], np.int64) for item in items]
    )
    order = np.argsort(-scores, kind="stable")
    is_right = np.concatenate([item.is_right for item in items], axis=1)[:, order]
    is_left_out = np.concatenate([item.is_left_out for item in items], axis=1)[:, order]
    right = np.cumsum(is_right * weights[order], axis=1)
    wrong = np.cumsum((~is_right & ~is_left_out) * weights[order], axis=1)
    precisions = [
        _precision_at_recalls(hits, misses, wanted)
        for hits, misses in zip(right, wrong, strict=True)
    ]
    return float(np.mean(precisions))


def _precision_at_recalls(right: NDArray[Any], wrong: NDArray[Any], wanted: int) -> float:
    if not len(right):
        return 0.0
    recall = right / wanted
    precision = right / (right + wrong + _EPSILON)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side="left")
    return float(np.append(envelope, 0.0)[places].mean())


def _rows(given: Any, widths: tuple[int, ...], what: str) -> NDArray[np.float64]:
    rows = np.asarray(given, np.float64)
    if rows.size == 0:
        return np.zeros((0, widths[0]))
    if rows.ndim != 2 or rows.shape[1] not in widths:
        columns = " or ".join(map(str, widths))
        raise InputError(f"{what} have shape {rows.shape}; rows of {columns} columns are expected")
    if not np.isfinite(rows).all():
        return rows[np.isfinite(rows).all(axis=1)]
    return rows
