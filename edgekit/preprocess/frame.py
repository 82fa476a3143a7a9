"""The reference implementation on uint8 frames: OpenCV inside, numpy out."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError, MissingDependencyError
from edgekit.graph import Array
from edgekit.preprocess.geometry import Geometry, place
from edgekit.preprocess.normalise import lookup_table
from edgekit.preprocess.spec import Preprocess
from edgekit.tensor import DType, Layout

if TYPE_CHECKING:
    from edgekit.tensor import TensorSpec


def fit(preprocess: Preprocess, frame: NDArray[np.uint8], spec: TensorSpec) -> NDArray[np.uint8]:
    """Return the frame cropped, resized and padded: uint8, (1, H, W, frame channels).

    Raises:
        InputError: The frame is not as the preprocessing says, or cannot fit the input.
    """
    pixels = _checked_frame(preprocess, frame)
    fitted = _fit(_opencv(), pixels, preprocess, geometry=place(preprocess, frame.shape, spec))
    return np.ascontiguousarray(fitted).reshape(1, *fitted.shape[:2], preprocess.frame_channels)


def apply(
    preprocess: Preprocess,
    frame: NDArray[np.uint8],
    spec: TensorSpec,
    *,
    out: Array | None = None,
) -> Array:
    """Return the model's input, made from one frame; see ``Preprocess.apply``."""
    cv2 = _opencv()
    pixels = _checked_frame(preprocess, frame)
    geometry = place(preprocess, frame.shape, spec)
    picture = _fit(cv2, pixels, preprocess, geometry=geometry)
    result = _buffer(preprocess, geometry.canvas_hw, out)
    if preprocess.layout is Layout.NCHW:
        _write_planes(cv2, picture, preprocess, result[0])
        return result
    _write_interleaved(cv2, picture, preprocess, result[0])
    return result


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError(
            f"OpenCV cannot be imported ({error}); run: pip install 'edgekit[vision]'"
        ) from error
    return cv2


def _checked_frame(preprocess: Preprocess, frame: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the frame as OpenCV takes it: (H, W, 3), or (H, W) for grey."""
    channels = preprocess.frame_channels
    shape = getattr(frame, "shape", None)
    if shape is None or frame.dtype != np.uint8:
        kind = f"a {frame.dtype} array" if shape is not None else f"a {type(frame).__name__}"
        raise InputError(f"a frame is {kind}; a uint8 array of height x width x channels is needed")
    if len(shape) == 3 and shape[2] == channels:
        return frame[:, :, 0] if channels == 1 else frame
    if len(shape) == 2 and channels == 1:
        return frame
    raise InputError(
        f"a frame has shape {shape}; {preprocess.frame_colour} frames have shape "
        f"(height, width, {channels}): convert it, or set another frame colour"
    )


def _fit(
    cv2: ModuleType, frame: NDArray[np.uint8], preprocess: Preprocess, *, geometry: Geometry
) -> NDArray[np.uint8]:
    left, top, width, height = geometry.crop_xywh
    picture = frame[top : top + height, left : left + width]
    if geometry.resized_hw != (height, width):
        modes = {
            "linear": cv2.INTER_LINEAR,
            "nearest": cv2.INTER_NEAREST,
            "area": cv2.INTER_AREA,
            "cubic": cv2.INTER_CUBIC,
        }
        size_wh = geometry.resized_hw[::-1]
        picture = cv2.resize(picture, size_wh, interpolation=modes[preprocess.interpolation])
    if geometry.resized_hw == geometry.canvas_hw:
        return picture
    offset_x, offset_y = geometry.offset_xy
    if offset_x < 0 or offset_y < 0:
        picture = picture[max(0, -offset_y) :, max(0, -offset_x) :]
        offset_x, offset_y = max(0, offset_x), max(0, offset_y)
    rows, columns = geometry.canvas_hw
    picture = picture[:rows, :columns]
    right, bottom = columns - offset_x - picture.shape[1], rows - offset_y - picture.shape[0]
    if not (offset_x or offset_y or right or bottom):
        return picture
    value = (preprocess.pad_value,) * 3
    return cv2.copyMakeBorder(  # type: ignore[no-any-return]
        picture, offset_y, bottom, offset_x, right, cv2.BORDER_CONSTANT, value=value
    )


def _buffer(preprocess: Preprocess, canvas_hw: tuple[int, int], out: Array | None) -> Array:
    channels = preprocess.channels
    is_planar = preprocess.layout is Layout.NCHW
    shape = (1, channels, *canvas_hw) if is_planar else (1, *canvas_hw, channels)
    dtype = preprocess.dtype.to_numpy()
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise InputError(
            f"the buffer given as out is {out.dtype} {out.shape}; a C-contiguous array of "
            f"{dtype} {shape} is needed"
        )
    return out


def _in_model_colour(
    cv2: ModuleType, picture: NDArray[np.uint8], preprocess: Preprocess
) -> NDArray[np.uint8]:
    if preprocess.frame_colour == preprocess.colour:
        return picture
    code = getattr(cv2, f"COLOR_{preprocess.frame_colour}2{preprocess.colour}")
    return cv2.cvtColor(picture, code)  # type: ignore[no-any-return]


def _write_planes(
    cv2: ModuleType, picture: NDArray[np.uint8], preprocess: Preprocess, planes: Array
) -> None:
    """Write channel by channel: the table look-up is normalise, cast and quantize at once."""
    if "GRAY" in (preprocess.colour, preprocess.frame_colour):
        picture = _in_model_colour(cv2, picture, preprocess)
        order = tuple(range(preprocess.channels))
    else:
        # Picking the planes in the model's order reorders the colours for free.
        order = (0, 1, 2) if preprocess.frame_colour == preprocess.colour else (2, 1, 0)
    table = lookup_table(preprocess)
    channels = (picture,) if picture.ndim == 2 else cv2.split(picture)
    for index, source in enumerate(order):
        _look_up(cv2, channels[source], table[index], planes[index])


def _write_interleaved(
    cv2: ModuleType, picture: NDArray[np.uint8], preprocess: Preprocess, pixels: Array
) -> None:
    picture = _in_model_colour(cv2, picture, preprocess)
    # (channels, 256) -> (1, 256, channels)
    table = np.ascontiguousarray(lookup_table(preprocess).T)[None]
    target = pixels[:, :, 0] if preprocess.channels == 1 else pixels
    _look_up(cv2, picture, table[:, :, 0] if preprocess.channels == 1 else table, target)


def _look_up(cv2: ModuleType, picture: NDArray[np.uint8], table: Array, target: Array) -> None:
    """Write ``table[picture]`` into target."""
    if table.dtype.name == DType.FLOAT16.value:
        # OpenCV moves two bytes a pixel and does not look into them.
        target, table = target.view(np.uint16), table.view(np.uint16)
    table = np.ascontiguousarray(table).reshape(1, 256, *picture.shape[2:])
    written = cv2.LUT(picture, table, dst=target)
    if not np.shares_memory(written, target):
        target[...] = written
