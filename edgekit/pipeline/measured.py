"""How far a quantized artifact may be from its goldens: as far as it was when it was made."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.bundle import Tolerance
from edgekit.runtimes.parity import OutputParity

_MARGIN = 2.0
_STEPS = 2 / 255  # kernels may round two steps of a code otherwise on another machine
_COSINE = 1e-3


def measured_tolerance(figures: Sequence[OutputParity], known: Tolerance | None) -> Tolerance:
    """Return the tolerance of quantized artifacts: what these measured, with a margin.

    It tells whether a device computes what was measured here. How good that is, the contract
    says.

    Args:
        figures: Of the artifacts' outputs on the goldens.
        known: The tolerance so far; the wider of the two is returned.
    """
    cosine = min(item.cosine for item in figures)
    relative = max(item.relative_error for item in figures)
    least = max(-1.0, 1 - _MARGIN * (1 - cosine) - _COSINE)
    largest = _MARGIN * relative + _STEPS
    if known is not None:
        least, largest = min(least, known.cosine_min), max(largest, known.relative_error_max)
    return Tolerance(
        cosine_min=least,
        relative_error_max=largest,
        reason=(
            "measured on the goldens at conversion, twice that, and two steps of 255 for kernels "
            "that round otherwise; the contract says how good the model is"
        ),
    )
