"""COCO's JSON of boxes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.runtimes.validation.sample import LabelledSample, Validation, Wanted, read_frame

Rows = NDArray[np.float64]


def open_coco(path: Path, wanted: Wanted) -> Validation:
    """Return every picture of the JSON with its boxes, crowds marked.

    Pictures lie beside the file, or in a folder ``images`` beside it. Categories are numbered
    by the model's labels where all are among them, else in the order of their ids.

    Raises:
        InputError: The file is not COCO's, or a picture is missing.
    """
    file = next(iter(sorted(path.glob("*.json"))), path) if path.is_dir() else path
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        number, how = _number(data["categories"], wanted.labels)
        rows: dict[int, list[list[float]]] = {int(item["id"]): [] for item in data["images"]}
        for item in data["annotations"]:
            x, y, width, height = map(float, item["bbox"])
            label, crowd = number[int(item["category_id"])], float(item.get("iscrowd", 0))
            rows[int(item["image_id"])].append([x, y, x + width, y + height, label, crowd])
        pictures = {int(item["id"]): str(item["file_name"]) for item in data["images"]}
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(f"{file} is not COCO's JSON of boxes: {error!r}") from error
    readers = [
        partial(_read, _find(file.parent, name), wanted, np.array(rows[key]).reshape(-1, 6))
        for key, name in sorted(pictures.items())
    ]
    boxes = sum(map(len, rows.values()))
    return Validation(
        "coco",
        f"{len(readers)} pictures of {file.name} with {boxes} boxes, categories numbered {how}",
        is_labelled=True,
        readers=readers,
    )


def _read(path: Path, wanted: Wanted, rows: Rows) -> LabelledSample:
    frame = read_frame(path, wanted.frame_channels)
    return LabelledSample(path.name, {wanted.picture_input: frame}, rows)


def _find(folder: Path, name: str) -> Path:
    # The name comes from a file that may come from anywhere.
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise InputError(f"picture {name!r} lies outside the folder of its JSON")
    for path in (folder / relative, folder / "images" / relative):
        if path.is_file():
            return path
    raise InputError(f"picture {name!r} is neither in {folder} nor in its folder images")


def _number(categories: list[dict[str, Any]], labels: Sequence[str]) -> tuple[dict[int, int], str]:
    ordered = sorted(categories, key=lambda item: int(item["id"]))
    names = [str(item["name"]) for item in ordered]
    if labels and all(name in labels for name in names):
        places = [list(labels).index(name) for name in names]
        how = "by the model's labels"
    else:
        places, how = list(range(len(names))), "in the order of their ids"
    ids = (int(item["id"]) for item in ordered)
    return dict(zip(ids, places, strict=True)), how
