"""The tensors that 8 bits serve worst, by the ranges and histograms in the bundle."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.bundle import Bundle
from edgekit.errors import CalibrationError
from edgekit.ranges import Histogram, Range, Ranges, Statistics
from edgekit.report.axis import is_drawable

_USUAL_PATH = "ranges.json"
_MAX_BYTES = 64 * 1024 * 1024
_STEPS = 255  # between the 256 codes of 8 bits
_MOST_COUNTED = 1 << 53  # exact in a float64
# What reading any JSON as ranges can raise.
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Tensor:
    """What was seen of a tensor and what its integers cover.

    Args:
        name: Of the tensor.
        chosen: Its range.
        histogram: Of the values seen.
        clipped: Share of them outside the range, 0 to 1.
        sqnr_db: Signal-to-quantization-noise ratio that 8 bits in this range give, by the
            histogram: clipping, and step ** 2 / 12 for what is not clipped.
    """

    name: str
    chosen: Range
    histogram: Histogram
    clipped: float
    sqnr_db: float


def read_ranges(bundle: Bundle) -> tuple[Ranges | None, str]:
    """Return the ranges that the bundle carries, or None and why they cannot be shown.

    Raises:
        BundleIntegrityError: The file does not match its hash.
    """
    manifest = bundle.manifest
    path = manifest.contract.ranges if manifest.contract is not None else ""
    path = path or (_USUAL_PATH if _USUAL_PATH in manifest.files else "")
    if not path:
        return None, "The bundle carries no ranges."
    if manifest.files[path].size > _MAX_BYTES:
        return None, f"{path} is over {_MAX_BYTES >> 20} MiB and is not drawn."
    try:
        return Ranges.from_json(json.loads(bundle.read(path))), ""
    except (CalibrationError, *_MALFORMED) as error:
        return None, f"{path} is not a ranges file: {error}"


def worst_tensors(ranges: Ranges, count: int) -> tuple[Tensor, ...]:
    """Return the tensors with the least expected ratio, the worst first."""
    found = [
        judged(name, ranges.ranges[name], seen)
        for name, seen in ranges.statistics.items()
        if name in ranges.ranges and _can_be_drawn(ranges.ranges[name], seen)
    ]
    return tuple(sorted(found, key=lambda item: (item.sqnr_db, -item.clipped, item.name))[:count])


def judged(name: str, chosen: Range, seen: Statistics) -> Tensor:
    """Return what the histogram says of the range.

    Values are taken as evenly spread inside a bin, or inside the part of it that lies between
    the least and the largest value seen.
    """
    histogram = seen.histogram
    counts = _array(histogram.counts)
    edges = np.linspace(histogram.low, histogram.high, counts.size + 1)
    edges = np.clip(edges, max(seen.minimum, histogram.low), min(seen.maximum, histogram.high))
    left, right = edges[:-1], edges[1:]
    covered = np.minimum(right, chosen.high) - np.maximum(left, chosen.low)
    centres = (left + right) / 2
    beyond = np.maximum(chosen.low - centres, 0) + np.maximum(centres - chosen.high, 0)
    widths = right - left
    inside = np.where(beyond > 0, 0.0, 1.0)
    np.divide(covered, widths, out=inside, where=widths > 0)
    inside = np.clip(inside, 0.0, 1.0)
    total = float(counts.sum()) or 1.0
    step = (chosen.high - chosen.low) / _STEPS
    noise = float(counts @ np.square(beyond) + (counts @ inside) * step**2 / 12) / total
    signal = float(counts @ np.square(centres)) / total
    clipped = float(counts @ (1 - inside)) / total
    return Tensor(name, chosen, histogram, clipped, _decibels(signal, noise))


def _array(counts: Sequence[int]) -> NDArray[np.float64]:
    return np.array([min(count, _MOST_COUNTED) for count in counts], np.float64)


def _can_be_drawn(chosen: Range, seen: Statistics) -> bool:
    """Whether all of it is finite, in order, and its bins are wider than nothing."""
    low, high = seen.histogram.low, seen.histogram.high
    ends = (chosen.low, chosen.high, low, high, seen.minimum, seen.maximum)
    width = (high - low) / len(seen.histogram.counts)
    is_in_order = seen.minimum <= seen.maximum and low <= seen.maximum and seen.minimum <= high
    return all(map(is_drawable, ends)) and is_in_order and low + width > low


def _decibels(signal: float, noise: float) -> float:
    if noise <= 0 or signal <= 0:
        return math.inf if noise <= 0 else -math.inf
    return 10 * math.log10(signal / noise)
