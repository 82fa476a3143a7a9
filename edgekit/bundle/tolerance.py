"""How far a runtime's output may be from the golden one, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from edgekit.bundle.fields import Field


@dataclass(frozen=True)
class Tolerance:
    """Both limits hold for every output whose error is not below the floor.

    Args:
        cosine_min: Least cosine, as ``metrics.cosine`` computes it.
        relative_error_max: Largest error over the golden output's largest absolute value,
            as ``metrics.relative_error`` computes it.
        reason: Why these numbers.
        absolute_error_floor: An absolute error that always passes, in the output's own
            units: where an output is all near-zeros (a detector's scores on an empty
            picture), rounding of values of order 1 inside the network is all there is.
    """

    cosine_min: float
    relative_error_max: float
    reason: str = ""
    absolute_error_floor: float = 0.0

    def __post_init__(self) -> None:
        if not -1 <= self.cosine_min <= 1:
            raise ValueError(f"cosine_min {self.cosine_min} is not within -1..1")
        if not self.relative_error_max >= 0:
            raise ValueError(f"relative_error_max {self.relative_error_max} is not >= 0")
        if not self.absolute_error_floor >= 0:
            raise ValueError(f"absolute_error_floor {self.absolute_error_floor} is not >= 0")

    def allows(
        self, *, cosine: float, relative_error: float, max_abs_error: float = float("inf")
    ) -> bool:
        """Whether measured figures of one output are within it; NaN never is."""
        if max_abs_error <= self.absolute_error_floor:
            return True
        return cosine >= self.cosine_min and relative_error <= self.relative_error_max

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "cosine_min": self.cosine_min,
            "relative_error_max": self.relative_error_max,
            "reason": self.reason,
            "absolute_error_floor": self.absolute_error_floor,
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
        given = field.maybe("absolute_error_floor")
        floor = 0.0 if given is None else given.number()
        return field.make(lambda: cls(cosine_min, relative_error_max, text, floor))


Tolerances = Mapping[str, Mapping[str, Tolerance]]
"""By precision of the artifact, then by class of the backend (``"cpu"``, ``"gpu"``)."""

# ONNX Runtime's and XNNPACK's own Sigmoid differ by 4e-7 near 0 (measured, 1.32 and LiteRT 2.3).
_FP32_FLOOR = 1e-6
# float16 near 1 has steps of 5e-4, near 0 far finer ones.
_FP16_FLOOR = 1e-4

DEFAULT_TOLERANCES: Tolerances = MappingProxyType(
    {
        "fp32": MappingProxyType(
            {
                "cpu": Tolerance(
                    0.99999,
                    1e-3,
                    "float32 sums in another order: a rounding of 6e-8 grows to 1e-4 through "
                    "a hundred layers",
                    _FP32_FLOOR,
                ),
                "gpu": Tolerance(
                    0.9999,
                    1e-2,
                    "GPUs multiply float32 as TF32 by default, with 11 significant bits: 5e-4 "
                    "for each product, summed in float32",
                    _FP32_FLOOR,
                ),
            }
        ),
        "fp16": MappingProxyType(
            {
                "cpu": Tolerance(
                    0.999,
                    3e-2,
                    "weights of 11 significant bits: 5e-4 each, averaged over a layer's sum",
                    _FP16_FLOOR,
                ),
                "gpu": Tolerance(
                    0.999,
                    5e-2,
                    "weights and activations of 11 significant bits; sums may be float16 too",
                    _FP16_FLOOR,
                ),
            }
        ),
    }
)
