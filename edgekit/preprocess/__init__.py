"""From a camera frame to the array that a model takes: one contract, one implementation.

``Preprocess`` is data (it travels in the manifest); ``Preprocess.apply`` is the reference
that every runtime and app uses. A frame is uint8, height x width x channels, as OpenCV
reads it. docs/preprocess.md tells it with examples.

To add a resize mode: one name in ``spec.RESIZES``, one branch in ``geometry.place``, and,
where a graph can do it, one in ``converters/passes/fuse_preprocess.py``.
"""

from edgekit.preprocess.geometry import Geometry
from edgekit.preprocess.normalise import Normalisation
from edgekit.preprocess.spec import (
    COLOURS,
    INTERPOLATIONS,
    MAX_FRAME_PIXELS,
    RESIZES,
    Preprocess,
)

__all__ = [
    "COLOURS",
    "INTERPOLATIONS",
    "MAX_FRAME_PIXELS",
    "RESIZES",
    "Geometry",
    "Normalisation",
    "Preprocess",
]
