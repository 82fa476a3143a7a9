"""Pictures with a mask each."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from edgekit.errors import InputError
from edgekit.runtimes.validation.sample import (
    Array,
    LabelledSample,
    Validation,
    Wanted,
    masks_beside,
    pictures_in,
    read_frame,
)


def open_masks(path: Path, wanted: Wanted) -> Validation:
    """Return pictures with the PNG of the same name that holds each pixel's class.

    They are ``path/images`` and ``path/masks``, or ``path`` and ``pathannot`` beside it, as
    CamVid's usual copies have them.

    Raises:
        InputError: A picture has no mask.
    """
    images, masks = path / "images", path / "masks"
    if not images.is_dir():
        images, masks = path, masks_beside(path)
    readers = []
    for picture in pictures_in(images):
        mask = masks / f"{picture.stem}.png"
        if not mask.is_file():
            raise InputError(f"{picture.name} has no mask {mask}; every picture needs one")
        readers.append(partial(_read, picture, mask, wanted))
    return Validation("masks", f"{len(readers)} pictures of {path.name} with masks", True, readers)


def _read(picture: Path, mask: Path, wanted: Wanted) -> LabelledSample:
    frame = read_frame(picture, wanted.frame_channels)
    return LabelledSample(picture.name, {wanted.picture_input: frame}, _read_mask(mask))


def _read_mask(path: Path) -> Array:
    import cv2

    # OpenCV gives the colours of a palette picture, not its indices.
    mask: Array | None = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if mask is None or mask.ndim != 2:
        shape = None if mask is None else mask.shape
        raise InputError(
            f"mask {path.name} has shape {shape}; one channel is expected, whose values are the "
            "classes: save palette or colour masks as grey PNG"
        )
    return mask
