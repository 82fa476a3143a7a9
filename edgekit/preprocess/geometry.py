"""Where a frame lies in a model's input, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.preprocess.spec import MAX_FRAME_PIXELS, Preprocess
from edgekit.tensor import Layout

if TYPE_CHECKING:
    from edgekit.tensor import TensorSpec


@dataclass(frozen=True)
class Geometry:
    """One placement: a box of the frame, resized, then put onto the input's canvas.

    Pixels are areas: the first one spans 0..1, so ``model = frame * scale + offset``
    holds for the edges of boxes as for points.

    Args:
        crop_xywh: Box of the frame that is used, in whole pixels.
        resized_hw: Its height and width after resizing.
        offset_xy: Where its top left corner lands on the canvas; negative where cut off.
        canvas_hw: Height and width of the model's input.
    """

    crop_xywh: tuple[int, int, int, int]
    resized_hw: tuple[int, int]
    offset_xy: tuple[int, int]
    canvas_hw: tuple[int, int]

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Input pixels per frame pixel, along x and y."""
        _, _, width, height = self.crop_xywh
        return self.resized_hw[1] / width, self.resized_hw[0] / height

    def to_model(self, xy: NDArray[Any]) -> NDArray[np.float64]:
        """Return frame coordinates as input coordinates.

        Args:
            xy: Shape (..., 2k): points (x, y), or boxes (x, y, x, y), in frame pixels.
        """
        scale, offset = self._affine(xy)
        return np.asarray(xy, np.float64) * scale + offset

    def to_frame(self, xy: NDArray[Any]) -> NDArray[np.float64]:
        """Return input coordinates as frame coordinates; not clipped to the frame.

        Args:
            xy: Shape (..., 2k): points (x, y), or boxes (x, y, x, y), in input pixels.
        """
        scale, offset = self._affine(xy)
        return (np.asarray(xy, np.float64) - offset) / scale

    def _affine(self, xy: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        width = np.shape(xy)[-1] if np.ndim(xy) else 0
        if width == 0 or width % 2:
            raise InputError(
                f"coordinates have shape {np.shape(xy)}; the last axis must hold pairs x, y"
            )
        scale = np.array(self.scale_xy)
        corner = np.array(self.crop_xywh[:2])
        offset = np.array(self.offset_xy) - corner * scale
        return np.tile(scale, width // 2), np.tile(offset, width // 2)


def input_size(preprocess: Preprocess, spec: TensorSpec) -> tuple[int | None, int | None]:
    """Return height and width of the model's input; None where the size is dynamic.

    Raises:
        InputError: The input is no picture of this preprocessing's layout, colour and dtype.
    """
    want = f"a {preprocess.colour} picture laid out {preprocess.layout.value}"
    if spec.shape is None or len(spec.shape) != 4:
        raise InputError(f"input {spec.name!r} has shape {spec.shape}; preprocessing makes {want}")
    if spec.layout not in (Layout.UNKNOWN, preprocess.layout):
        raise InputError(
            f"input {spec.name!r} is laid out {spec.layout.value}; its preprocessing makes "
            f"{want}: set layout={spec.layout.value}"
        )
    if spec.dtype is not preprocess.dtype:
        raise InputError(
            f"input {spec.name!r} is {spec.dtype.value}; its preprocessing makes "
            f"{preprocess.dtype.value}: set dtype={spec.dtype.value}"
        )
    is_planar = preprocess.layout is Layout.NCHW
    batch = spec.shape[0]
    channels, height, width = spec.shape[1:] if is_planar else (spec.shape[3], *spec.shape[1:3])
    if isinstance(channels, int) and channels != preprocess.channels:
        raise InputError(
            f"input {spec.name!r} of shape {spec.shape} has {channels} channels; "
            f"its preprocessing makes {want}, which has {preprocess.channels}"
        )
    if isinstance(batch, int) and batch != 1:
        raise InputError(
            f"input {spec.name!r} takes a batch of {batch}; one frame makes a batch of 1: "
            "re-convert with --shape, or stack arrays yourself"
        )
    return (
        height if isinstance(height, int) else None,
        width if isinstance(width, int) else None,
    )


def place(preprocess: Preprocess, frame_shape: tuple[int, ...], spec: TensorSpec) -> Geometry:
    """Return where a frame of shape (height, width, ...) lies in the model's input.

    Raises:
        InputError: The frame is too large, empty, or cannot be made to fit.
    """
    frame_hw = _checked_frame_size(frame_shape)
    height, width = input_size(preprocess, spec)
    if preprocess.resize == "none":
        return _place_as_it_is(frame_hw, height=height, width=width, spec=spec)
    if height is None or width is None:
        raise InputError(
            f"input {spec.name!r} of shape {spec.shape} has no fixed height and width to "
            f"{preprocess.resize} to; use resize=none, or fix the shape with --shape"
        )
    geometry = _PLACERS[preprocess.resize](preprocess, frame_hw, (height, width))
    if geometry.resized_hw[0] * geometry.resized_hw[1] > MAX_FRAME_PIXELS:
        raise InputError(
            f"a frame of height {frame_hw[0]} and width {frame_hw[1]} would be resized to "
            f"{geometry.resized_hw}, over {MAX_FRAME_PIXELS} pixels; crop it first"
        )
    return geometry


def _checked_frame_size(frame_shape: tuple[int, ...]) -> tuple[int, int]:
    if len(frame_shape) < 2 or min(frame_shape[:2]) < 1:
        raise InputError(f"a frame of shape {frame_shape} is empty; height and width are needed")
    height, width = int(frame_shape[0]), int(frame_shape[1])
    if height * width > MAX_FRAME_PIXELS:
        raise InputError(
            f"a frame of {height}x{width} is over {MAX_FRAME_PIXELS} pixels; make it smaller"
        )
    return height, width


def _place_as_it_is(
    frame_hw: tuple[int, int], *, height: int | None, width: int | None, spec: TensorSpec
) -> Geometry:
    want = (height or frame_hw[0], width or frame_hw[1])
    if want != frame_hw:
        raise InputError(
            f"input {spec.name!r} takes frames of height {want[0]} and width {want[1]}, got "
            f"{frame_hw}; resize the frame, or convert with another resize mode"
        )
    return Geometry((0, 0, frame_hw[1], frame_hw[0]), frame_hw, (0, 0), frame_hw)


def _stretch(_: Preprocess, frame_hw: tuple[int, int], canvas_hw: tuple[int, int]) -> Geometry:
    return Geometry((0, 0, frame_hw[1], frame_hw[0]), canvas_hw, (0, 0), canvas_hw)


def _letterbox(
    preprocess: Preprocess, frame_hw: tuple[int, int], canvas_hw: tuple[int, int]
) -> Geometry:
    factor = min(canvas_hw[0] / frame_hw[0], canvas_hw[1] / frame_hw[1])
    height = min(_whole(frame_hw[0] * factor), canvas_hw[0])
    width = min(_whole(frame_hw[1] * factor), canvas_hw[1])
    is_centred = preprocess.resize == "letterbox"
    offset = ((canvas_hw[1] - width) // 2, (canvas_hw[0] - height) // 2) if is_centred else (0, 0)
    return Geometry((0, 0, frame_hw[1], frame_hw[0]), (height, width), offset, canvas_hw)


def _center_crop(
    preprocess: Preprocess, frame_hw: tuple[int, int], canvas_hw: tuple[int, int]
) -> Geometry:
    # As tf.image.central_crop: the margin is floored, so the box is never too small.
    top, left = (int(side * (1 - preprocess.crop_fraction) / 2) for side in frame_hw)
    box = (left, top, frame_hw[1] - 2 * left, frame_hw[0] - 2 * top)
    return Geometry(box, canvas_hw, (0, 0), canvas_hw)


def _shortest_side(
    preprocess: Preprocess, frame_hw: tuple[int, int], canvas_hw: tuple[int, int]
) -> Geometry:
    cover = [_whole(side / preprocess.crop_fraction) for side in canvas_hw]
    factor = max(cover[0] / frame_hw[0], cover[1] / frame_hw[1])
    # torchvision truncates the longer side; the epsilon keeps exact products exact.
    height = max(int(frame_hw[0] * factor + 1e-6), canvas_hw[0])
    width = max(int(frame_hw[1] * factor + 1e-6), canvas_hw[1])
    # torchvision rounds the margin, halves to even.
    offset = (-round((width - canvas_hw[1]) / 2), -round((height - canvas_hw[0]) / 2))
    return Geometry((0, 0, frame_hw[1], frame_hw[0]), (height, width), offset, canvas_hw)


def _whole(size: float) -> int:
    return max(1, int(size + 0.5))


_PLACERS = {
    "stretch": _stretch,
    "letterbox": _letterbox,
    "letterbox-topleft": _letterbox,
    "center-crop": _center_crop,
    "shortest-side": _shortest_side,
}
