"""How far a runtime's output may be from the golden one, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from edgekit.bundle.fields import Field


@dataclass(frozen=True)
class Tolerance:
    """Both limits hold for every output.

    Args:
        cosine_min: Least cosine, as ``metrics.cosine`` computes it.
        relative_error_max: Largest error over the golden output's largest absolute value,
            as ``metrics.relative_error`` computes it.
        reason: Why these numbers.
    """

    cosine_min: float
    relative_error_max: float
    reason: str = ""

    def __post_init__(self) -> None:
        if not -1 <= self.cosine_min <= 1:
            raise ValueError(f"cosine_min {self.cosine_min} is not within -1..1")
        if not self.relative_error_max >= 0:
            raise ValueError(f"relative_error_max {self.relative_error_max} is not >= 0")

    def allows(self, *, cosine: float, relative_error: float) -> bool:
        """Whether measured figures are within it; NaN never is."""
        return cosine >= self.cosine_min and relative_error <= self.relative_error_max

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "cosine_min": self.cosine_min,
            "relative_error_max": self.relative_error_max,
            "reason": self.reason,
        }

    @classmethod
    def read(cls, field: Field) -> Tolerance:
        """Read what ``to_json`` wrote.

        Raises:
            BundleFormatError: It is malformed.
        """
        reason = field.maybe("reason")
        cosine_min = field.key("cosine_min").number()
        relative_error_max = field.key("relative_error_max").number()
        text = "" if reason is None else reason.text()
        return field.make(lambda: cls(cosine_min, relative_error_max, text))


Tolerances = Mapping[str, Mapping[str, Tolerance]]
"""By precision of the artifact, then by class of the backend (``"cpu"``, ``"gpu"``)."""

DEFAULT_TOLERANCES: Tolerances = MappingProxyType(
    {
        "fp32": MappingProxyType(
            {
                "cpu": Tolerance(
                    0.99999,
                    1e-3,
                    "float32 sums in another order: a rounding of 6e-8 grows to 1e-4 through "
                    "a hundred layers",
                ),
                "gpu": Tolerance(
                    0.9999,
                    1e-2,
                    "GPUs multiply float32 as TF32 by default, with 11 significant bits: 5e-4 "
                    "for each product, summed in float32",
                ),
            }
        ),
        "fp16": MappingProxyType(
            {
                "cpu": Tolerance(
                    0.999,
                    3e-2,
                    "weights of 11 significant bits: 5e-4 each, averaged over a layer's sum",
                ),
                "gpu": Tolerance(
                    0.999,
                    5e-2,
                    "weights and activations of 11 significant bits; sums may be float16 too",
                ),
            }
        ),
    }
)
