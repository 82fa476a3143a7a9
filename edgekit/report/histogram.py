"""How often which values were seen, and the range that the integers cover."""

from __future__ import annotations

import math

from edgekit.report.svg import Attributes, Svg, chart, element, percent
from edgekit.report.tensors import Tensor
from edgekit.report.words import number, share

_HEIGHT = 96
_BARS = 64
_FLOOR = 90  # y of the bars' feet, in pixels
_TOP = 6


def histogram(ident: str, tensor: Tensor) -> Svg:
    """Return the picture; ``ident`` is unique on the page. Heights are logarithmic."""
    seen, chosen = tensor.histogram, tensor.chosen
    low, high = min(seen.low, chosen.low), max(seen.high, chosen.high)
    counts = rebinned(tensor, low, high)
    heights = [math.log(count + 1) for count in counts]
    tallest = max(heights) or 1.0
    first, last = (chosen.low - low) / (high - low), (chosen.high - low) / (high - low)
    bars = [
        element(
            "rect",
            {
                "class": "seen",
                "x": percent(index / _BARS),
                "width": percent(0.85 / _BARS),
                "y": _FLOOR - (_FLOOR - _TOP) * height / tallest,
                "height": (_FLOOR - _TOP) * height / tallest,
            },
        )
        for index, height in enumerate(heights)
        if height
    ]
    box: Attributes = {"class": "range", "y": 0, "height": _HEIGHT}
    ends = [
        element("line", {"class": "end", "x1": place, "x2": place, "y1": 0, "y2": _HEIGHT})
        for place in (percent(first), percent(last))
    ]
    return chart(
        ident,
        element("rect", {**box, "x": percent(first), "width": percent(last - first)}),
        *bars,
        element("line", {"class": "grid", "x1": "0", "x2": "100%", "y1": _FLOOR, "y2": _FLOOR}),
        *ends,
        title=f"Values of {tensor.name}",
        description=(
            f"Seen from {number(seen.low)} to {number(seen.high)}; the range from "
            f"{number(chosen.low)} to {number(chosen.high)} leaves {share(tensor.clipped)} outside"
        ),
        height=_HEIGHT,
    )


def rebinned(tensor: Tensor, low: float, high: float) -> list[int]:
    """Return the counts in ``_BARS`` equal bins from low to high; none is lost."""
    seen = tensor.histogram
    width = (seen.high - seen.low) / len(seen.counts)
    bins = [0] * _BARS
    for index, count in enumerate(seen.counts):
        centre = seen.low + (index + 0.5) * width
        bins[min(_BARS - 1, max(0, int((centre - low) / (high - low) * _BARS)))] += count
    return bins
