"""Rows of boxes that the model itself has decoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError


def decode_rows(
    outputs: Mapping[str, NDArray[Any]], canvas_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the one output of shape (..., n, 6) as it is; padding of score 0 is dropped.

    Raises:
        InputError: No output, or more than one, has six columns.
    """
    tables = {name: value for name, value in outputs.items() if value.shape[-1:] == (6,)}
    if len(tables) != 1:
        shapes = ", ".join(f"{name} {value.shape}" for name, value in outputs.items())
        raise InputError(
            f"of the outputs {shapes}, {len(tables)} have rows of six columns (left, top, right, "
            "bottom, score, class); give a decoder as module:function"
        )
    (table,) = tables.values()
    rows = table.reshape(-1, 6).astype(np.float64)
    return rows[rows[:, 4] > 0]
