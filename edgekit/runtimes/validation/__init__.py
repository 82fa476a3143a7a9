"""Where the samples with labels come from that a metric is measured on.

To add a kind: a file here with a function ``(path, wanted) -> Validation``, a line in
``VALIDATIONS``, and a rule in ``guess_kind``. Samples are read one by one.
"""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import UsageError
from edgekit.registry import Entry, pick
from edgekit.runtimes.validation.sample import (
    PICTURES,
    LabelledSample,
    Validation,
    Wanted,
    masks_beside,
    pictures_in,
)

_HERE = "edgekit.runtimes.validation"

VALIDATIONS: dict[str, Entry] = {
    "folders": Entry(
        f"{_HERE}.classes:open_folders",
        summary="a folder of pictures for each class, or each person",
        needs=("cv2",),
        extra="vision",
    ),
    "csv": Entry(
        f"{_HERE}.classes:open_csv",
        summary="a CSV with columns image and label",
        needs=("cv2",),
        extra="vision",
    ),
    "coco": Entry(
        f"{_HERE}.coco:open_coco",
        summary="COCO's JSON of boxes, its pictures beside it",
        needs=("cv2",),
        extra="vision",
    ),
    "masks": Entry(
        f"{_HERE}.masks:open_masks",
        summary="folders of pictures and of PNG masks",
        needs=("cv2",),
        extra="vision",
    ),
    "npz": Entry(f"{_HERE}.arrays:open_npz", summary="arrays of inputs, and labels"),
    "pictures": Entry(
        f"{_HERE}.classes:open_pictures",
        summary="pictures without labels",
        needs=("cv2",),
        extra="vision",
    ),
}

_KIND_OF_SUFFIX = {".npz": "npz", ".csv": "csv", ".json": "coco"}
_FOLDERS = ("folders", "masks", "pictures")


def open_validation(path: Path, wanted: Wanted, *, kind: str = "auto") -> Validation:
    """Return the samples of a file or folder.

    Args:
        path: What the user gave.
        wanted: What the model takes.
        kind: A line of ``VALIDATIONS``; ``"auto"`` looks at what is there.

    Raises:
        UsageError: It is nothing of the kind, or a file where a folder is expected.
        InputError: It is, but malformed.
        MissingDependencyError: Pictures are to be read without OpenCV.
    """
    chosen = guess_kind(path) if kind == "auto" else kind
    if chosen in _FOLDERS and not path.is_dir():
        raise UsageError(f"{path} is not a folder; samples of kind {chosen!r} are one")
    validation: Validation = pick(VALIDATIONS, chosen, kind="kind of validation set").load()(
        path, wanted
    )
    if not len(validation):
        raise UsageError(f"{path} holds no samples of kind {chosen!r}; check the path")
    return validation


def guess_kind(path: Path) -> str:
    """Return the line of ``VALIDATIONS`` that a file or folder looks like.

    Raises:
        UsageError: It looks like none.
    """
    if path.is_file() and path.suffix.lower() in _KIND_OF_SUFFIX:
        return _KIND_OF_SUFFIX[path.suffix.lower()]
    if path.is_dir():
        if (path / "labels.csv").is_file():
            return "csv"
        if len(list(path.glob("*.json"))) == 1:
            return "coco"
        if (path / "masks").is_dir() or masks_beside(path).is_dir():
            return "masks"
        if pictures_in(path):
            return "pictures"
        if any(pictures_in(folder) for folder in path.iterdir() if folder.is_dir()):
            return "folders"
    raise UsageError(
        f"{path} is no validation set; expected a folder of pictures ({', '.join(PICTURES)}) by "
        "class, a CSV (image,label), COCO's JSON, images/ and masks/, or an .npz with labels"
    )


__all__ = ["VALIDATIONS", "LabelledSample", "Validation", "Wanted", "guess_kind", "open_validation"]
