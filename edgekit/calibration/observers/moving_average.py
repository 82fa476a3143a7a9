"""The mean of the samples' own ranges: one strange sample counts as one."""

from __future__ import annotations

from edgekit.ranges import Range, Statistics


def moving_average(statistics: Statistics) -> Range:
    """Return the mean smallest to the mean largest value of a sample.

    Source: Krishnamoorthi 2018, "Quantizing deep convolutional networks for efficient
    inference", section 3.1; with equal weights, so that the samples' order does not matter.
    """
    low, high = statistics.mean_minimum, statistics.mean_maximum
    return Range(min(low, 0.0), max(high, 0.0), "moving_average")
