"""The formula ``y = (x * scale - mean) / std`` in the forms that engines and CPUs want."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekit.graph import Array
from edgekit.preprocess.spec import Preprocess

Matrix: TypeAlias = NDArray[np.float64]

# ITU-R BT.601 luma, as OpenCV's cvtColor.
_GREY_WEIGHTS = {"R": 0.299, "G": 0.587, "B": 0.114}


@dataclass(frozen=True)
class Normalisation:
    """One affine map per channel, in the model's channel order.

    ``y = x * multiply + add``, which is ``y = (x - mean_values) / scale_values``: the
    second form is that of OpenVINO's PrePostProcessor and model optimiser.

    Args:
        multiply: One factor per channel.
        add: One term per channel.
    """

    multiply: tuple[float, ...]
    add: tuple[float, ...]

    @property
    def mean_values(self) -> tuple[float, ...]:
        """What is subtracted from 0..255, per channel."""
        return tuple(-add / multiply for multiply, add in zip(self.multiply, self.add, strict=True))

    @property
    def scale_values(self) -> tuple[float, ...]:
        """What the difference is divided by, per channel."""
        return tuple(1 / multiply for multiply in self.multiply)

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return set(self.multiply) == {1.0} and set(self.add) == {0.0}


def normalisation(preprocess: Preprocess) -> Normalisation:
    """Return the formula as one multiply and one add per channel of the model."""
    scale, mean, std = (
        values * preprocess.channels if len(values) == 1 else values
        for values in (preprocess.scale, preprocess.mean, preprocess.std)
    )
    return Normalisation(
        multiply=tuple(factor / spread for factor, spread in zip(scale, std, strict=True)),
        # Adding 0 turns -0.0 into 0.0.
        add=tuple(-centre / spread + 0.0 for centre, spread in zip(mean, std, strict=True)),
    )


def channel_map(preprocess: Preprocess) -> tuple[Matrix, Matrix]:
    """Return what colour, formula and code do together: ``matrix @ frame_pixel + offset``.

    Returns:
        matrix, shape (model channels, frame channels); offset, shape (model channels,).
    """
    frame, model = preprocess.frame_colour, preprocess.colour
    if frame == model:
        colours = np.eye(preprocess.channels)
    elif model == "GRAY":
        colours = np.array([[_GREY_WEIGHTS[letter] for letter in frame]])
    elif frame == "GRAY":
        colours = np.ones((3, 1))
    else:
        colours = np.eye(3)[::-1]
    affine = normalisation(preprocess)
    matrix = np.array(affine.multiply)[:, None] * colours
    offset = np.array(affine.add)
    code = preprocess.quantization
    if code is not None:
        matrix, offset = matrix / code.scale[0], offset / code.scale[0] + code.zero_point[0]
    return matrix, offset


@lru_cache(maxsize=64)
def lookup_table(preprocess: Preprocess) -> Array:
    """Return what each of the 256 grey levels becomes, per channel.

    Returns:
        Shape (channels, 256) of the preprocessing's dtype, computed in float64, read only.
    """
    affine = normalisation(preprocess)
    levels = np.arange(256, dtype=np.float64)
    real = np.outer(affine.multiply, levels) + np.array(affine.add)[:, None]
    table = _encode(real, preprocess)
    table.setflags(write=False)
    return table


def _encode(real: NDArray[np.float64], preprocess: Preprocess) -> Array:
    dtype = preprocess.dtype.to_numpy()
    if preprocess.dtype.is_float:
        return real.astype(dtype)
    code = preprocess.quantization
    if code is not None:
        real = real / code.scale[0] + code.zero_point[0]
    limits = np.iinfo(dtype)
    # Halves go to even, as in ONNX QuantizeLinear.
    return np.clip(np.rint(real), limits.min, limits.max).astype(dtype)
