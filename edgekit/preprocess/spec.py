"""The preprocessing of one input, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError
from edgekit.quantization import Quantization
from edgekit.registry import unknown_name
from edgekit.tensor import DType, Layout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.graph import Array
    from edgekit.preprocess.geometry import Geometry
    from edgekit.preprocess.normalise import Normalisation
    from edgekit.tensor import TensorSpec

RESIZES = ("none", "stretch", "letterbox", "letterbox-topleft", "center-crop", "shortest-side")
INTERPOLATIONS = ("linear", "nearest", "area", "cubic")
COLOURS = ("RGB", "BGR", "GRAY")
LAYOUTS = (Layout.NCHW, Layout.NHWC)
DTYPES = (DType.FLOAT32, DType.FLOAT16, DType.UINT8, DType.INT8)

MAX_FRAME_PIXELS = 100_000_000
"""Largest frame, before or after resizing: 300 MB of colour, over any camera's picture."""


@dataclass(frozen=True)
class Preprocess:
    """How a frame becomes a model's input: ``y = (x * scale - mean) / std``, ``x`` in 0..255.

    The steps, in order: crop, resize and pad (on uint8), colour, the formula, quantization
    (``q = round(y / quantization.scale + zero_point)``, saturated), layout.

    Args:
        resize: ``"none"`` takes frames of the model's size only. ``"stretch"`` ignores the
            aspect ratio. ``"letterbox"`` keeps it, scales the whole frame into the input and
            pads around it; ``"letterbox-topleft"`` pads on the right and below only.
            ``"center-crop"`` cuts the central ``crop_fraction`` of each side, then stretches
            (TensorFlow's evaluation). ``"shortest-side"`` scales until the frame covers
            1 / ``crop_fraction`` of the input, then cuts its centre (torchvision's).
        interpolation: How pixels are resampled, one of ``INTERPOLATIONS``.
        crop_fraction: In (0, 1]; 0.875 is 224 out of 256.
        pad_value: Grey level of the padding, 0..255, before the formula.
        colour: Channel order that the model was trained with.
        frame_colour: Channel order of the frames; OpenCV's is ``"BGR"``.
        scale: One factor, or one per channel in the model's order.
        mean: Likewise; in the units of ``x * scale``.
        std: Likewise; not 0.
        layout: Axes of the model's input.
        dtype: Element type of the model's input.
        quantization: Integer code of the input; None stores ``round(y)`` in integers.

    Raises:
        UsageError: A value is not among the choices or out of its range.
    """

    resize: str = "stretch"
    interpolation: str = "linear"
    crop_fraction: float = 1.0
    pad_value: int = 0
    colour: str = "RGB"
    frame_colour: str = "BGR"
    scale: tuple[float, ...] = (1.0,)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Layout = Layout.NCHW
    dtype: DType = DType.FLOAT32
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        _check_choice(self.resize, RESIZES, kind="resize mode")
        _check_choice(self.interpolation, INTERPOLATIONS, kind="interpolation")
        _check_choice(self.colour, COLOURS, kind="colour order")
        _check_choice(self.frame_colour, COLOURS, kind="frame colour order")
        _check_choice(self.layout.value, tuple(item.value for item in LAYOUTS), kind="image layout")
        _check_choice(self.dtype.value, tuple(item.value for item in DTYPES), kind="input dtype")
        if not 0 < self.crop_fraction <= 1:
            raise UsageError(f"crop fraction {self.crop_fraction} is not above 0 and at most 1")
        if self.crop_fraction != 1 and self.resize not in ("center-crop", "shortest-side"):
            raise UsageError(
                f"crop fraction {self.crop_fraction} has no meaning for resize mode "
                f"{self.resize!r}; use center-crop or shortest-side"
            )
        if not 0 <= self.pad_value <= 255 or self.pad_value != int(self.pad_value):
            raise UsageError(f"pad value {self.pad_value} is not a whole grey level in 0..255")
        self._check_channels()
        if self.quantization is not None and (
            self.dtype.is_float or self.quantization.is_per_channel
        ):
            raise UsageError(
                f"an input of {self.dtype.value} cannot have quantization {self.quantization}; "
                "uint8 and int8 inputs can, with one scale"
            )

    def _check_channels(self) -> None:
        for name in ("scale", "mean", "std"):
            values = getattr(self, name)
            if len(values) not in (1, self.channels):
                raise UsageError(
                    f"{name} has {len(values)} values {values}; a {self.colour} input takes "
                    f"1 or {self.channels}"
                )
            if not all(math.isfinite(value) for value in values):
                raise UsageError(f"{name} {values} is not finite")
            if name != "mean" and not all(values):
                raise UsageError(f"{name} {values} holds a 0")

    @property
    def channels(self) -> int:
        """Channels of the model's input."""
        return 1 if self.colour == "GRAY" else 3

    @property
    def frame_channels(self) -> int:
        """Channels of a frame."""
        return 1 if self.frame_colour == "GRAY" else 3

    def place(self, frame_shape: tuple[int, ...], spec: TensorSpec) -> Geometry:
        """Return where a frame of shape (height, width, ...) lies in the model's input.

        Raises:
            InputError: The frame is too large, empty, or cannot be made to fit.
        """
        from edgekit.preprocess.geometry import place

        return place(self, frame_shape, spec)

    def fit(self, frame: NDArray[np.uint8], spec: TensorSpec) -> NDArray[np.uint8]:
        """Return the frame cropped, resized and padded only: uint8, (1, H, W, channels).

        It is what an artifact takes whose preprocessing is fused without the resize.

        Raises:
            InputError: As for ``apply``.
        """
        from edgekit.preprocess.frame import fit

        return fit(self, frame, spec)

    def apply(
        self, frame: NDArray[np.uint8], spec: TensorSpec, *, out: Array | None = None
    ) -> Array:
        """Return the model's input, made from one frame.

        Args:
            frame: (height, width, 3) in ``frame_colour`` order; (height, width) or
                (height, width, 1) where that is GRAY.
            spec: The model's input; its height and width decide the size.
            out: C-contiguous array of the result's shape and dtype to write into.

        Returns:
            Shape (1, C, H, W) or (1, H, W, C) as ``layout`` says, of ``dtype``.

        Raises:
            InputError: The frame or ``out`` is not as described, or contradicts the input.
            MissingDependencyError: OpenCV is not installed.
        """
        from edgekit.preprocess.frame import apply

        return apply(self, frame, spec, out=out)

    def normalisation(self) -> Normalisation:
        """Return the formula as one multiply and one add per channel."""
        from edgekit.preprocess.normalise import normalisation

        return normalisation(self)

    @classmethod
    def parse(cls, text: str) -> Preprocess:
        """Read a command-line value such as ``letterbox,bgr,scale=1/255``.

        Raises:
            UsageError: A word or value is not understood; the message lists the choices.
        """
        from edgekit.preprocess.parse import parse

        return parse(text)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict; every field is written."""
        return {
            "resize": self.resize,
            "interpolation": self.interpolation,
            "crop_fraction": self.crop_fraction,
            "pad_value": self.pad_value,
            "colour": self.colour,
            "frame_colour": self.frame_colour,
            "scale": list(self.scale),
            "mean": list(self.mean),
            "std": list(self.std),
            "layout": self.layout.value,
            "dtype": self.dtype.value,
            "quantization": None if self.quantization is None else self.quantization.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocess:
        """Read what ``to_json`` wrote; nothing may be missing and nothing unknown.

        Raises:
            ValueError: A field is missing, unknown or malformed; the message names it.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"preprocessing is a {type(data).__name__}, expected an object")
        names = {field.name for field in fields(cls)}
        if set(data) != names:
            missing, unknown = sorted(names - set(data)), sorted(set(data) - names)
            raise ValueError(f"preprocessing lacks {missing} and has unknown {unknown}")
        quantization = data["quantization"]
        if not isinstance(quantization, (Mapping, type(None))):
            raise ValueError(f"quantization is {quantization!r}, expected an object or null")
        try:
            return cls(
                **{name: _read_text(data, name) for name in _TEXT_FIELDS},
                crop_fraction=_read_number(data["crop_fraction"], "crop_fraction"),
                pad_value=int(_read_number(data["pad_value"], "pad_value", whole=True)),
                scale=_read_numbers(data, "scale"),
                mean=_read_numbers(data, "mean"),
                std=_read_numbers(data, "std"),
                layout=Layout(data["layout"]),
                dtype=DType(data["dtype"]),
                quantization=None
                if quantization is None
                else Quantization.from_json(dict(quantization)),
            )
        except (UsageError, TypeError, KeyError) as error:
            raise ValueError(f"preprocessing is malformed: {error}") from error


_TEXT_FIELDS = ("resize", "interpolation", "colour", "frame_colour")


def _check_choice(value: str, choices: tuple[str, ...], *, kind: str) -> None:
    if value not in choices:
        raise UsageError(unknown_name(str(value), choices, kind=kind))


def _read_text(data: Mapping[str, Any], name: str) -> str:
    if not isinstance(data[name], str):
        raise TypeError(f"{name} is {data[name]!r}, expected text")
    return str(data[name])


def _read_number(value: object, name: str, *, whole: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError(f"{name} is {value!r}, expected a number")
    if whole and value != int(value):
        raise TypeError(f"{name} is {value!r}, expected a whole number")
    return float(value)


def _read_numbers(data: Mapping[str, Any], name: str) -> tuple[float, ...]:
    if not isinstance(data[name], (list, tuple)):
        raise TypeError(f"{name} is {data[name]!r}, expected a list of numbers")
    return tuple(_read_number(value, name) for value in data[name])
