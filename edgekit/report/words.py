"""Numbers and settings as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.preprocess import Preprocess
from edgekit.tensor import TensorSpec

_MINUS, _TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"

_RESIZES = {
    "none": "It is taken as it is: its size must be the model's.",
    "stretch": "It is stretched to the model's size; its aspect ratio is not kept.",
    "letterbox": "It is scaled to fit, its aspect ratio kept, and padded around with grey {pad}.",
    "letterbox-topleft": (
        "It is scaled to fit, its aspect ratio kept, and padded on the right and below with "
        "grey {pad}."
    ),
    "center-crop": (
        "The central {crop} of each side is cut out, then stretched to the model's size."
    ),
    "shortest-side": (
        "It is scaled until the model's size is {crop} of its shortest side, then its centre is "
        "cut out."
    ),
}


def number(value: float | None) -> str:
    """Return four significant digits, or ``"unknown"``."""
    if value is None or math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "∞" if value > 0 else f"{_MINUS}∞"
    return f"{value:.4g}".replace("-", _MINUS)


def share(value: float) -> str:
    """Return a share as per cent, three significant digits: ``"0.28 %"``."""
    return f"{value * 100:.3g} %".replace("-", _MINUS)


def size(count: int) -> str:
    """Return bytes as ``"1.4 MB"`` (powers of 1000)."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def counted(count: int, noun: str) -> str:
    """Return ``"1 file"`` or ``"2 files"``."""
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: Sequence[str]) -> str:
    """Return ``"a, b and c"``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def shape(spec: TensorSpec) -> str:
    """Return the sizes with signs of multiplication between them."""
    if spec.shape is None:
        return "unknown"
    return f" {_TIMES} ".join(map(str, spec.shape)) or "one number"


def steps(preprocess: Preprocess) -> tuple[str, ...]:
    """Return what happens to a frame on its way into the model, one sentence a step."""
    pixels = "grey" if preprocess.frame_channels == 1 else preprocess.frame_colour
    resize = _RESIZES[preprocess.resize].format(
        pad=preprocess.pad_value, crop=share(preprocess.crop_fraction)
    )
    found = [
        f"A frame of 8-bit {pixels} pixels comes in, height {_TIMES} width {_TIMES} channels.",
        resize,
    ]
    if preprocess.resize != "none":
        found.append(f"Pixels are resampled by the {preprocess.interpolation} method.")
    found += [_colour(preprocess), _formula(preprocess)]
    if preprocess.quantization is not None:
        scale, zero = preprocess.quantization.scale[0], preprocess.quantization.zero_point[0]
        found.append(f"Each y is stored as the integer round(y / {number(scale)} + {zero}).")
    layout, dtype = preprocess.layout.value, preprocess.dtype.value
    found.append(f"The model gets {dtype} values laid out as {layout}.")
    return tuple(found)


def _colour(preprocess: Preprocess) -> str:
    if preprocess.colour == preprocess.frame_colour:
        return "The channels stay in their order."
    if preprocess.colour == "GRAY":
        return "Colours become grey (ITU-R BT.601 luma)."
    if preprocess.frame_colour == "GRAY":
        return f"The grey level fills all three channels of {preprocess.colour}."
    return f"Red and blue change places: the model was trained on {preprocess.colour}."


def _formula(preprocess: Preprocess) -> str:
    term = "x"
    if set(preprocess.scale) != {1.0}:
        term += f" {_TIMES} {_values(preprocess.scale)}"
    if set(preprocess.mean) != {0.0}:
        term += f" {_MINUS} {_values(preprocess.mean)}"
    if set(preprocess.std) != {1.0}:
        term = f"({term}) / {_values(preprocess.std)}"
    if term == "x":
        return "Values stay in 0 to 255."
    return f"Each value x in 0 to 255 becomes y = {term}."


def _values(values: Sequence[float]) -> str:
    if len(set(values)) == 1:
        return number(values[0])
    return f"[{', '.join(number(value) for value in values)}]"
