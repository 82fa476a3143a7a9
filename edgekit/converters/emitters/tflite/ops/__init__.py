"""Lowerings by ONNX operator.

To add an operator: write ``_name(low, node)`` in the module of its family and one line in
that module's ``LOWERINGS``. ``tests/test_tflite_operators.py`` then runs every case that
the ONNX project's own backend tests hold for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.ops import (
    activation,
    conv,
    deconv,
    elementwise,
    indexing,
    logic,
    matmul,
    normalise,
    pool,
    recurrent,
    reduce,
    resize,
    scatter,
    shape,
    slicing,
    unpool,
)
from edgekit.graph import Node

Lower: TypeAlias = Callable[[Lowering, Node], None]

LOWERINGS: Mapping[str, Lower] = {
    **elementwise.LOWERINGS,
    **logic.LOWERINGS,
    **activation.LOWERINGS,
    **conv.LOWERINGS,
    **deconv.LOWERINGS,
    **pool.LOWERINGS,
    **unpool.LOWERINGS,
    **shape.LOWERINGS,
    **slicing.LOWERINGS,
    **reduce.LOWERINGS,
    **normalise.LOWERINGS,
    **matmul.LOWERINGS,
    **resize.LOWERINGS,
    **indexing.LOWERINGS,
    **scatter.LOWERINGS,
    **recurrent.LOWERINGS,
}
