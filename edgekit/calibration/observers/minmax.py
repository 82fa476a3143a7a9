"""From the smallest value seen to the largest: nothing is clipped."""

from __future__ import annotations

from edgekit.ranges import Range, Statistics


def minmax(statistics: Statistics) -> Range:
    """Return the range of everything that was seen."""
    return Range(min(statistics.minimum, 0.0), max(statistics.maximum, 0.0), "minmax")
