"""Pictures with a class each: by folder, by CSV; and pictures alone."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from edgekit.errors import InputError
from edgekit.runtimes.validation.sample import (
    LabelledSample,
    Validation,
    Wanted,
    pictures_in,
    read_frame,
)

_NUMBERED = re.compile(r"(\d+)[_ -]")


def open_folders(path: Path, wanted: Wanted) -> Validation:
    """Return the pictures of every subfolder; the folder is the class, or the person.

    Folders are numbered by the model's labels where all are among them, by the number that
    their names start with where all do (``3_cat``), else in the order of their names.
    """
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir())
    folders = [folder for folder in folders if pictures_in(folder)]
    numbers, how = _number([folder.name for folder in folders], wanted.labels)
    readers = [
        partial(_read, picture, wanted, number, f"{picture.parent.name}/{picture.name}")
        for folder, number in zip(folders, numbers, strict=True)
        for picture in pictures_in(folder)
    ]
    return Validation(
        "folders",
        f"{len(readers)} pictures of {path.name} in {len(folders)} folders, numbered {how}",
        is_labelled=True,
        readers=readers,
    )


def open_csv(path: Path, wanted: Wanted) -> Validation:
    """Return the pictures of a CSV with the columns image (a path beside it) and label.

    A label is a number from 0, or a name among the model's labels.

    Raises:
        InputError: A column is missing, a label is neither, or the file is no text.
    """
    file = path / "labels.csv" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file} does not exist; a CSV with columns image and label is expected")
    readers = []
    for line, (name, text) in enumerate(_rows(file), start=2):
        label = _read_label(text, wanted.labels, f"{file}, line {line}")
        readers.append(partial(_read, file.parent / name, wanted, label, name))
    return Validation(
        "csv", f"{len(readers)} pictures of {file.name}", is_labelled=True, readers=readers
    )


def _rows(file: Path) -> list[tuple[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = csv.DictReader(text)
            columns = rows.fieldnames
            if {"image", "label"} <= set(columns or ()):
                return [(row["image"] or "", row["label"] or "") for row in rows]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise InputError(f"{file} is not a readable CSV: {error}") from error
    raise InputError(f"{file} has the columns {columns}; image and label are expected")


def open_pictures(path: Path, wanted: Wanted) -> Validation:
    """Return the pictures of a folder, without labels."""
    readers = [partial(_read, picture, wanted, None, picture.name) for picture in pictures_in(path)]
    return Validation(
        "pictures",
        f"{len(readers)} pictures of {path.name} without labels",
        is_labelled=False,
        readers=readers,
    )


def _read(path: Path, wanted: Wanted, label: int | None, origin: str) -> LabelledSample:
    frame = read_frame(path, wanted.frame_channels)
    return LabelledSample(origin, {wanted.picture_input: frame}, label)


def _number(names: Sequence[str], labels: Sequence[str]) -> tuple[list[int], str]:
    places = {label.strip().lower(): index for index, label in enumerate(labels)}
    bare = [_NUMBERED.sub("", name, count=1).lower() for name in names]
    for words in ([name.lower() for name in names], bare):
        if places and all(word in places for word in words):
            return [places[word] for word in words], "by the model's labels"
    leading = [_NUMBERED.match(name) for name in names]
    numbers = [int(found.group(1)) for found in leading if found]
    if len(numbers) == len(names) == len(set(numbers)):
        return numbers, "by their leading number"
    return list(range(len(names))), "in the order of their names"


def _read_label(text: str, labels: Sequence[str], where: str) -> int:
    if text.strip().isdecimal():
        return int(text)
    if text in labels:
        return list(labels).index(text)
    raise InputError(
        f"{where}: label {text!r} is neither a number from 0 nor one of the model's "
        f"{len(labels)} labels"
    )
