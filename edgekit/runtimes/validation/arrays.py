"""Arrays of inputs and labels in one file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from edgekit.errors import InputError
from edgekit.runtimes.validation.sample import Array, LabelledSample, Validation, Wanted
from edgekit.tensor import TensorSpec

LABELS = ("labels", "label")


def open_npz(path: Path, wanted: Wanted) -> Validation:
    """Return the samples of an ``.npz``: first axis of every array.

    An array for each input by its name, or, for a model with one input, one of any name:
    tensors of the input's shape without its first axis, or uint8 frames. Labels are the
    array ``labels``: classes, identities, masks or tensors; there may be none.

    Raises:
        InputError: The file cannot be read, or an array is missing or of another length.
    """
    arrays = _read(path)
    labels = next((arrays.pop(name) for name in LABELS if name in arrays), None)
    inputs = _by_input(arrays, wanted, path)
    counts = {len(array) for array in inputs.values()}
    counts |= set() if labels is None else {len(labels)}
    if len(counts) != 1:
        raise InputError(f"the arrays of {path} have {sorted(counts)} samples; all need as many")
    specs = {spec.name: spec for spec in wanted.inputs}
    count = counts.pop()
    readers = [
        partial(_sample, inputs, labels, specs, index=index, origin=f"{path.name}[{index}]")
        for index in range(count)
    ]
    suffix = "" if labels is not None else " without labels"
    return Validation("npz", f"{count} samples of {path.name}{suffix}", labels is not None, readers)


def _sample(
    inputs: Mapping[str, Array],
    labels: Array | None,
    specs: Mapping[str, TensorSpec],
    *,
    index: int,
    origin: str,
) -> LabelledSample:
    feed: dict[str, Array] = {}
    for name, array in inputs.items():
        rank = len(specs[name].shape or ())
        # (N, ...) -> (1, ...), or a frame (H, W[, C]) for preprocessing to make the tensor of
        is_frame = (
            array.dtype == np.uint8 and array.ndim in (3, 4) and not _fits(array, specs[name])
        )
        keeps_axis = array.ndim == rank and not is_frame
        feed[name] = array[index : index + 1] if keeps_axis else array[index]
    if labels is None:
        return LabelledSample(origin, feed)
    return LabelledSample(origin, feed, labels[index] if labels.ndim > 1 else labels[index].item())


def _fits(array: Array, spec: TensorSpec) -> bool:
    """Return whether the array is the input's own tensor and not frames."""
    shape = spec.shape or ()
    if spec.dtype.value != array.dtype.name or array.ndim != len(shape):
        return False
    sizes = zip(shape[1:], array.shape[1:], strict=True)
    return all(isinstance(wanted, str) or wanted == size for wanted, size in sizes)


def _by_input(arrays: dict[str, Array], wanted: Wanted, path: Path) -> dict[str, Array]:
    names = [spec.name for spec in wanted.inputs]
    if len(names) == 1 and names[0] not in arrays and len(arrays) == 1:
        return {names[0]: next(iter(arrays.values()))}
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InputError(
            f"{path} holds {', '.join(arrays) or 'nothing'} beside labels; it lacks "
            f"{', '.join(missing)}"
        )
    return {name: arrays[name] for name in names}


def _read(path: Path) -> dict[str, Array]:
    try:
        # No pickle: the file may come from anywhere.
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a readable .npz file: {error}") from error
