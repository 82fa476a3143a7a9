"""Depthwise layers whose channels are of very different size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgekit.calibration.lint.hazard import Hazard
from edgekit.calibration.lint.view import View
from edgekit.graph import Array, Node

MAX_RATIO = 64.0
"""From here the smallest channel of one 8-bit tensor keeps at most 4 of 256 steps."""


def depthwise_channels(view: View) -> Iterator[Hazard]:
    """Find depthwise convolutions whose channels share an activation code unfairly.

    Weights have a scale for each channel, results have one for all: a channel whose weights
    are small gives small results, which then fall into few steps.

    Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
        Correction", section 3.1 and figure 2.
    """
    for node in view.nodes("Conv"):
        weight = view.constant(node.input(1))
        if weight is None or weight.ndim < 3 or not _is_depthwise(node, weight):
            continue
        # (C, 1, kernel...) -> (C,): what a channel can give for inputs up to 1
        gains = np.abs(weight.astype(np.float64)).reshape(len(weight), -1).sum(axis=1)
        alive = gains[gains > gains.max(initial=0) * 1e-6]
        if len(alive) < 2:
            continue
        ratio = float(alive.max() / alive.min())
        if ratio <= MAX_RATIO:
            continue
        weak = int((alive < alive.max() / MAX_RATIO).sum())
        per_channel = np.abs(weight).reshape(len(weight), -1).max(axis=1)
        per_channel = per_channel[per_channel > per_channel.max() * 1e-6]
        yield Hazard(
            rule="depthwise-range",
            severity="high" if weak > len(alive) // 2 else "medium",
            nodes=(node.name,),
            tensors=(node.input(1), *node.outputs),
            reason=(
                f"the largest of {len(weight)} channels gives {ratio:.0f} times the smallest "
                f"(weights {float(per_channel.max() / per_channel.min()):.0f} times); {weak} "
                f"channels keep at most {max(1, round(256 / MAX_RATIO))} of the result's 256 steps"
            ),
            fix=(
                "equalize it with its neighbours (cross-layer equalization, "
                "converters/quantize/equalize.py), after batch norms are folded"
            ),
            rewrite="equalize",
        )


def _is_depthwise(node: Node, weight: Array) -> bool:
    channels, inside = weight.shape[:2]
    return bool(node.attribute("group", 1) == channels and channels > 1 and inside == 1)
