"""How the trained models beside the repository are fed: a picture of what they look for.

On noise a detector finds nothing, and then its scores are all about 1e-6. ONNX Runtime's
own Sigmoid is off by 2e-7 there (version 1.32 on x86: its optimizer alone changes YuNet's
objectness by 0.2 % of the largest), so that the cosine tells of the reference's rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True)
class TrainedInput:
    """Pictures for one model, and how its authors turn them into its input.

    Args:
        pictures: Folder of the pictures, beside the models'.
        shape: Of the input, (1, 3, height, width).
        mean: Subtracted from the 0..255 pixels.
        scale: Then multiplied.
        rgb: Whether channels are red first; else blue first, as OpenCV reads.
        fixes_shape: Whether the file leaves sizes open, so that a conversion must fix them.
    """

    pictures: str
    shape: tuple[int, int, int, int]
    mean: float = 0.0
    scale: float = 1.0
    rgb: bool = False
    fixes_shape: bool = False


# Each model's own preprocessing, from its authors' code.
TRAINED: dict[str, TrainedInput] = {
    "yolox_nano": TrainedInput("data-coco-unlabelled", (1, 3, 416, 416)),
    "fsanet-1x1-iter-688590": TrainedInput("data-faces-caltech", (1, 3, 64, 64), 127.5, 1 / 128),
    "fsanet-var-iter-688590": TrainedInput("data-faces-caltech", (1, 3, 64, 64), 127.5, 1 / 128),
    "mobileface_v2": TrainedInput("data-faces-caltech", (1, 3, 112, 112), rgb=True),
    "version-RFB-320_without_postprocessing": TrainedInput(
        "data-faces-caltech", (1, 3, 240, 320), 127.0, 1 / 128, rgb=True
    ),
    "yunet_n_640_640": TrainedInput("data-faces-caltech", (1, 3, 640, 640)),
    "yunet_n_dynamic": TrainedInput("data-faces-caltech", (1, 3, 320, 320), fixes_shape=True),
    "ch_ppocr_mobile_v2.0_cls_infer": TrainedInput(
        "data-imagenet-samples", (1, 3, 48, 192), 127.5, 1 / 127.5, fixes_shape=True
    ),
}


def picture_input(how: TrainedInput, folder: Path, *, seed: int) -> Array | None:
    """Return a picture as the model takes it; None where there are no pictures.

    Args:
        how: The model's line of ``TRAINED``.
        folder: Holds the folders of pictures.
        seed: Which picture.
    """
    import cv2

    paths = sorted(path for path in (folder / how.pictures).rglob("*.jpg"))
    if not paths:
        return None
    picture = cv2.imread(str(paths[seed * 7919 % len(paths)]), cv2.IMREAD_COLOR)
    picture = cv2.resize(picture, how.shape[:1:-1], interpolation=cv2.INTER_LINEAR)
    pixels = picture[..., ::-1] if how.rgb else picture
    # (H, W, C) -> (1, C, H, W)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)
    return np.asarray((planes - np.float32(how.mean)) * np.float32(how.scale))
