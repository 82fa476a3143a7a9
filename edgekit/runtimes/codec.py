"""From a logical tensor to the stored one and back, where the artifact changed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import EngineError, InputError
from edgekit.quantization import Quantization
from edgekit.tensor import Layout, TensorSpec

Array = NDArray[Any]
Codec = Callable[[Array], Array]


def logical_spec(stored: TensorSpec) -> TensorSpec:
    """Return the tensor as the source model has it: the permutation is undone.

    Stored axis ``i`` is logical axis ``permutation[i]``.
    """
    order = stored.permutation
    if order is None or stored.shape is None:
        return stored
    places = sorted(range(len(order)), key=order.__getitem__)
    layout = Layout.UNKNOWN
    if stored.layout is not Layout.UNKNOWN:
        letters = "".join(stored.layout.value[place] for place in places)
        layout = Layout(letters) if letters in {item.value for item in Layout} else layout
    quantization = stored.quantization
    if quantization is not None and quantization.axis is not None:
        quantization = replace(quantization, axis=order[quantization.axis])
    return replace(
        stored,
        shape=tuple(stored.shape[place] for place in places),
        layout=layout,
        quantization=quantization,
        permutation=None,
    )


def encoder(logical: TensorSpec, stored: TensorSpec) -> Codec | None:
    """Return what turns logical values into stored ones; None where they are the same.

    Raises:
        EngineError: No rule leads from one to the other.
    """
    if logical.dtype is stored.dtype:
        return None
    dtype = stored.dtype.to_numpy()
    if logical.dtype.is_float and not stored.dtype.is_float:
        scale, zero_point = _per_tensor(logical, stored)
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max

        # Source: ONNX QuantizeLinear-19: saturate(round_half_to_even(x / scale) + zero_point).
        def quantize(values: Array) -> Array:
            codes: Array = np.clip(np.rint(values / scale) + zero_point, low, high)
            return codes.astype(dtype)

        return quantize

    def cast(values: Array) -> Array:
        result = values.astype(dtype)
        if not dtype.kind == "f" and not np.array_equal(result, values):
            raise InputError(
                f"input {logical.name!r} holds values that do not fit {dtype.name}, in which this "
                f"artifact stores it: {values.min()} to {values.max()}"
            )
        return result

    return cast


def decoder(logical: TensorSpec, stored: TensorSpec) -> Codec | None:
    """Return what turns stored values into logical ones; None where they are the same.

    Raises:
        EngineError: No rule leads from one to the other.
    """
    if logical.dtype is stored.dtype:
        return None
    dtype = logical.dtype.to_numpy()
    if logical.dtype.is_float and not stored.dtype.is_float:
        scale, zero_point = _per_tensor(logical, stored)

        # Source: ONNX DequantizeLinear-19: (x - zero_point) * scale.
        def dequantize(values: Array) -> Array:
            real: Array = (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
            return real.astype(dtype, copy=False)

        return dequantize
    return lambda values: values.astype(dtype)


def _per_tensor(logical: TensorSpec, stored: TensorSpec) -> tuple[float, int]:
    quantization: Quantization | None = stored.quantization
    if quantization is None or quantization.is_per_channel:
        raise EngineError(
            f"{logical.name!r} is {logical.dtype.value} in the source model and "
            f"{stored.dtype.value} in the artifact, with quantization {quantization}; "
            "one scale and zero point is needed: convert the model again"
        )
    return quantization.scale[0], quantization.zero_point[0]
