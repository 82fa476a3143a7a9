"""How the integers of a quantized tensor map to real values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Quantization:
    """An affine code: ``real = scale * (integer - zero_point)``.

    Args:
        scale: One per tensor, or one per slice along ``axis``; each > 0.
        zero_point: As many as scales.
        axis: Axis of the stored tensor along which the scales run; None per tensor.
        block: Of a matrix, how many elements along its other axis share a scale; the scales
            of one slice stand together then. None where a slice has one scale.

    Source: ONNX operator QuantizeLinear-19; LiteRT 8-bit quantization specification.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None
    block: int | None = None

    def __post_init__(self) -> None:
        if len(self.scale) != len(self.zero_point) or not self.scale:
            raise ValueError(
                f"{len(self.scale)} scales and {len(self.zero_point)} zero points; "
                "an equal number, at least one, is needed"
            )
        if not all(math.isfinite(scale) and scale > 0 for scale in self.scale):
            raise ValueError(f"scales {self.scale} are not all finite and > 0")
        if self.axis is None and len(self.scale) != 1:
            raise ValueError(f"{len(self.scale)} scales without an axis; give the axis")
        if self.block is not None and (self.axis is None or self.block < 1):
            raise ValueError(f"blocks of {self.block} along axis {self.axis}; both are needed")

    @property
    def is_per_channel(self) -> bool:
        """Whether there is one scale per slice along an axis."""
        return self.axis is not None

    @property
    def is_symmetric(self) -> bool:
        """Whether every zero point is 0."""
        return not any(self.zero_point)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        data: dict[str, Any] = {"scale": list(self.scale), "zero_point": list(self.zero_point)}
        if self.axis is not None:
            data["axis"] = self.axis
        if self.block is not None:
            data["block"] = self.block
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Quantization:
        """Read what ``to_json`` wrote."""
        axis, block = data.get("axis"), data.get("block")
        return cls(
            scale=tuple(float(scale) for scale in data["scale"]),
            zero_point=tuple(int(point) for point in data["zero_point"]),
            axis=None if axis is None else int(axis),
            block=None if block is None else int(block),
        )
