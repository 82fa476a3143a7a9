"""Preprocessing as one command-line value: ``letterbox,bgr,pad=114,scale=1/255``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from edgekit.errors import UsageError
from edgekit.preprocess.spec import (
    COLOURS,
    DTYPES,
    INTERPOLATIONS,
    LAYOUTS,
    RESIZES,
    Preprocess,
)
from edgekit.quantization import Quantization
from edgekit.registry import unknown_name
from edgekit.tensor import DType, Layout

_DTYPE_NAMES = tuple(dtype.value for dtype in DTYPES)
_LAYOUT_NAMES = tuple(layout.value for layout in LAYOUTS)


def parse(text: str) -> Preprocess:
    """Read words and ``key=value`` pairs joined by commas.

    A word alone is a resize mode, an interpolation, a colour order, a layout or a dtype.
    A list has ``:`` between its values; a value may be a fraction or product of numbers,
    such as ``1/255`` or ``72.1*255``.

    Raises:
        UsageError: A word or value is not understood or given twice.
    """
    given: dict[str, Any] = {}
    for item in text.split(","):
        word = item.strip()
        field, value = _read_pair(word) if "=" in word else _read_word(word)
        if field in given:
            raise UsageError(f"preprocessing {text!r} gives {field} twice; give it once")
        given[field] = value
    return Preprocess(**given)


def _read_word(word: str) -> tuple[str, Any]:
    for field, choices in _WORDS.items():
        for choice in choices:
            if word.lower() == choice.lower():
                return field, _READERS[field](choice)
    every = tuple(choice for choices in _WORDS.values() for choice in choices)
    keys = ", ".join(f"{key}=..." for key in _KEYS)
    raise UsageError(f"{unknown_name(word, every, kind='preprocessing word')}; or {keys}")


def _read_pair(word: str) -> tuple[str, Any]:
    key, _, value = (part.strip() for part in word.partition("="))
    if key.lower() not in _KEYS:
        raise UsageError(unknown_name(key, tuple(_KEYS), kind="preprocessing key"))
    field = _KEYS[key.lower()]
    try:
        return field, _READERS[field](value)
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"preprocessing {word!r}: {error}") from error


def _read_number(text: str) -> float:
    if text.count("/") > 1:
        raise ValueError(f"{text!r} divides twice; a value for each channel is such as 1:2:3")
    if "/" in text:
        above, _, below = text.partition("/")
        return _read_number(above) / _read_number(below)
    if "*" in text:
        left, _, right = text.partition("*")
        return _read_number(left) * _read_number(right)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a number such as 0.5, 1/255 or 72.1*255")
    return number


def _read_numbers(text: str) -> tuple[float, ...]:
    return tuple(_read_number(part) for part in text.split(":"))


def _read_grey(text: str) -> int:
    value = _read_number(text)
    if value != int(value):
        raise ValueError(f"{text!r} is not a whole grey level in 0..255")
    return int(value)


def _read_quantization(text: str) -> Quantization:
    numbers = _read_numbers(text)
    if len(numbers) != 2 or numbers[1] != int(numbers[1]):
        raise ValueError(f"{text!r} is not SCALE:ZERO_POINT, such as 1/128:128")
    return Quantization(scale=(numbers[0],), zero_point=(int(numbers[1]),))


def _choice(choices: tuple[str, ...], *, kind: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        for choice in choices:
            if text.lower() == choice.lower():
                return choice
        raise ValueError(unknown_name(text, choices, kind=kind))

    return read


_read_layout = _choice(_LAYOUT_NAMES, kind="image layout")
_read_dtype = _choice(_DTYPE_NAMES, kind="input dtype")

_READERS: dict[str, Callable[[str], Any]] = {
    "resize": _choice(RESIZES, kind="resize mode"),
    "interpolation": _choice(INTERPOLATIONS, kind="interpolation"),
    "colour": _choice(COLOURS, kind="colour order"),
    "frame_colour": _choice(COLOURS, kind="frame colour order"),
    "layout": lambda text: Layout(_read_layout(text)),
    "dtype": lambda text: DType(_read_dtype(text)),
    "crop_fraction": _read_number,
    "pad_value": _read_grey,
    "scale": _read_numbers,
    "mean": _read_numbers,
    "std": _read_numbers,
    "quantization": _read_quantization,
}

# A word that alone says which field it sets; none is in two lists.
_WORDS = {
    "resize": RESIZES,
    "interpolation": INTERPOLATIONS,
    "colour": COLOURS,
    "layout": _LAYOUT_NAMES,
    "dtype": _DTYPE_NAMES,
}

_KEYS = {
    "resize": "resize",
    "interpolation": "interpolation",
    "colour": "colour",
    "color": "colour",
    "frame": "frame_colour",
    "layout": "layout",
    "dtype": "dtype",
    "crop": "crop_fraction",
    "pad": "pad_value",
    "scale": "scale",
    "mean": "mean",
    "std": "std",
    "quantization": "quantization",
}
