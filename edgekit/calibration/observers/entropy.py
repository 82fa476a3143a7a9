"""The clipping whose 8-bit distribution tells most of the original (Kullback-Leibler).

Source: Migacz 2017, "8-bit inference with TensorRT" (GTC S7310), and its form in
onnxruntime.quantization. Here every candidate is one row of an array: a level's part of the
divergence depends on sums over its bins alone, and these are differences of running sums.
Each end is searched by itself, so that ranges need not be symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.calibration.observers.bins import LEVELS, Bins, Vector, bins_of
from edgekit.ranges import Range, Statistics

Indices = NDArray[np.int64]

_CANDIDATES = 128
_ROUNDS = 2
# The divergence does not see how far clipped values move: a window that misses nearly all
# of them looks perfect. No distribution that 8 bits can serve has more than this outside.
_LEAST_INSIDE = 0.99
# A level that gets mass by clipping alone; onnxruntime.quantization smooths by as much.
_SMOOTH = 1e-4


@dataclass(frozen=True)
class _Sums:
    """Running sums over the bins, each of shape (n + 1,).

    Args:
        counts: Of elements.
        filled: Of bins that hold something.
        entropy: Of count * log(count).
    """

    counts: Vector
    filled: Vector
    entropy: Vector

    @classmethod
    def of(cls, counts: Vector) -> _Sums:
        return cls(*(_running(part) for part in (counts, counts > 0, _x_log_x(counts))))


def entropy(statistics: Statistics) -> Range:
    """Return the range of least divergence; all of it where there are too few bins."""
    bins = bins_of(statistics)
    first, last = _occupied(bins)
    everything = (min(statistics.minimum, 0.0), max(statistics.maximum, 0.0))
    if last - first <= LEVELS or not bins.counts.any():
        return Range(*everything, "entropy")
    sums = _Sums.of(bins.counts)
    low, high = first, -1
    for _ in range(_ROUNDS):
        before = low, high
        high = _best(bins, sums, low=low, highs=_ends(bins.zero, last, low=low))
        # The best low end for this high one is known already.
        if high == before[1]:
            break
        if bins.zero > first:
            lows = _ends(bins.zero, first, low=high)
            low = _best(bins, sums, lows=lows, high=high)
        if low == before[0]:
            break
    return Range(
        everything[0] if low == first else float(bins.edges[low]),
        everything[1] if high == last else float(bins.edges[high]),
        "entropy",
    )


def _occupied(bins: Bins) -> tuple[int, int]:
    """Return the edges around all values and 0."""
    used = np.flatnonzero(bins.counts)
    if not used.size:
        return bins.zero, bins.zero
    return min(int(used[0]), bins.zero), max(int(used[-1]) + 1, bins.zero)


def _ends(zero: int, outermost: int, *, low: int) -> Indices:
    """Return edges from 0 outwards that leave at least as many bins as there are levels.

    Args:
        zero: Edge at 0.
        outermost: Edge beyond which there is nothing; below or above 0.
        low: The other end.
    """
    ends = np.unique(np.rint(np.linspace(zero, outermost, _CANDIDATES)).astype(np.int64))
    kept: Indices = ends[(np.abs(ends - low) >= LEVELS) | (ends == outermost)]
    return kept


def _best(
    bins: Bins,
    sums: _Sums,
    *,
    low: int = 0,
    high: int = 0,
    lows: Indices | None = None,
    highs: Indices | None = None,
) -> int:
    """Return the candidate for one end that diverges least, the other end being fixed."""
    candidates = lows if lows is not None else highs
    if candidates is None:
        raise ValueError("one end has to be searched")
    starts = candidates if lows is not None else np.full_like(candidates, low)
    stops = candidates if highs is not None else np.full_like(candidates, high)
    inside = sums.counts[stops] - sums.counts[starts]
    served = np.flatnonzero(inside >= _LEAST_INSIDE * sums.counts[-1])
    if not served.size:
        # The other end already leaves too much outside; widest is best.
        return int(candidates[0 if lows is not None else -1])
    divergence = _divergence(bins.counts, sums, starts[served], stops[served])
    # Of equals, argmin takes the first: the narrowest, as TensorRT does.
    return int(candidates[served[np.argmin(divergence)]])


def _divergence(counts: Vector, sums: _Sums, starts: Indices, stops: Indices) -> Vector:
    """Return KL(P || Q) of each window of bins, shape (candidates,).

    P is the window with everything outside moved into its end bins; Q has each level's
    own mass spread evenly over those of its bins that P fills.
    """
    total = sums.counts[-1]
    below, above = sums.counts[starts], total - sums.counts[stops]
    # (candidates, levels + 1); in place, as most of the time goes into fresh memory otherwise.
    shares = (stops - starts)[:, None] * (np.arange(LEVELS + 1) / LEVELS)
    edges = np.rint(shares, out=shares).astype(np.int64)
    edges += starts[:, None]
    raw, filled = _between(sums.counts, edges), _between(sums.filled, edges)
    mass = raw.copy()
    mass[:, 0] += below
    mass[:, -1] += above
    # An end bin that only clipping fills is one more filled bin.
    filled[:, 0] += (below > 0) & (counts[starts] == 0)
    filled[:, -1] += (above > 0) & (counts[stops - 1] == 0)
    own = sums.entropy[stops] - sums.entropy[starts]
    own += _x_log_x(counts[starts] + below) - _x_log_x(counts[starts])
    own += _x_log_x(counts[stops - 1] + above) - _x_log_x(counts[stops - 1])
    spread = np.maximum(raw, _SMOOTH)
    spread /= np.maximum(filled, 1.0, out=filled)
    np.log(spread, out=spread)
    spread *= mass
    crossed = spread.sum(axis=1)
    inside = np.maximum(raw, _SMOOTH * (mass > 0), out=raw).sum(axis=1)
    divergence: Vector = (own - crossed) / total + np.log(np.maximum(inside, _SMOOTH) / total)
    return divergence


def _between(running: Vector, edges: Indices) -> Vector:
    """Return the sums between neighbouring edges of each row."""
    at_edges = running.take(edges)
    return at_edges[:, 1:] - at_edges[:, :-1]


def _x_log_x(values: Vector) -> Vector:
    return values * np.log(np.maximum(values, 1.0))


def _running(values: NDArray[np.generic]) -> Vector:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
