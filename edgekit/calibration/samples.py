"""The user's own data as a model's inputs: a stream that can be read again and again.

What is taken: a folder of pictures, one picture, a video, ``.npy`` (N, ...), ``.npz`` with one
(N, ...) array per input, or ``module:name``. Camera frames go through the model's
preprocessing; arrays that already are what the model takes do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from edgekit.calibration.sources import (
    PICTURES,
    VIDEOS,
    ArraySource,
    Given,
    ModuleSource,
    PictureSource,
    Source,
    VideoSource,
)
from edgekit.errors import CalibrationError, InputError, UsageError
from edgekit.graph import Array
from edgekit.preprocess import Preprocess
from edgekit.tensor import TensorSpec


class Samples:
    """Samples in a stable order, read and preprocessed one at a time.

    Args:
        source: Where the raw data comes from.
        inputs: The model's inputs.
        preprocess: By input name.
        limit: At most so many, spread evenly where the number is known.

    Attributes:
        skipped: Names of files that could not be read in the last pass, with the reason.
    """

    def __init__(
        self,
        source: Source,
        inputs: Sequence[TensorSpec],
        *,
        preprocess: Mapping[str, Preprocess],
        limit: int | None = None,
    ) -> None:
        self._source = source
        self._inputs = tuple(inputs)
        self._preprocess = dict(preprocess)
        self._limit = limit
        self.skipped: list[str] = []

    @property
    def expected(self) -> int | None:
        """How many there will be, counting unreadable ones; None where only reading tells."""
        total = self._source.count
        if total is None or self._limit is None:
            return total
        return min(total, self._limit)

    def __len__(self) -> int:
        expected = self.expected
        if expected is None:
            raise TypeError("how many samples there are is known only after reading them")
        return expected

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return (sample for _, sample in self.items())

    def items(self) -> Iterator[tuple[str, dict[str, Array]]]:
        """Yield each sample's name and the model's inputs.

        Raises:
            CalibrationError: None could be read.
            InputError: One does not fit the model.
        """
        self.skipped = []
        read = 0
        given = self._source.read(self._chosen(), self.skipped)
        for name, raw in islice(given, self._limit):
            read += 1
            yield name, self._fitted(name, raw)
        if not read:
            raise CalibrationError(
                f"{self._source.name} holds no sample that can be read"
                + (f": {'; '.join(self.skipped[:3])}" if self.skipped else "")
            )

    def first(self, count: int) -> list[dict[str, Array]]:
        """Return up to ``count`` samples, spread evenly where the number is known."""
        fewer = min(count, self._limit or count)
        few = Samples(self._source, self._inputs, preprocess=self._preprocess, limit=fewer)
        return list(few)

    def _chosen(self) -> Sequence[int] | None:
        """Return which of the source's items to take; None for all."""
        total = self._source.count
        if total is None or self._limit is None or self._limit >= total:
            return None
        return [index * total // self._limit for index in range(self._limit)]

    def _fitted(self, name: str, raw: Given) -> dict[str, Array]:
        arrays = raw if isinstance(raw, Mapping) else {self._only_input(name).name: raw}
        fitted: dict[str, Array] = {}
        for spec in self._inputs:
            if spec.name not in arrays:
                raise InputError(
                    f"sample {name} holds {', '.join(arrays) or 'nothing'}; it lacks "
                    f"{spec.name!r}: give one array for each input"
                )
            fitted[spec.name] = self._fit(arrays[spec.name], spec, name)
        return fitted

    def _fit(self, array: Array, spec: TensorSpec, name: str) -> Array:
        steps = self._preprocess.get(spec.name)
        rank = None if spec.shape is None else len(spec.shape)
        is_frame = array.dtype == np.uint8 and array.ndim in (2, 3) and rank == 4
        if steps is not None and is_frame:
            return steps.apply(array.astype(np.uint8, copy=False), spec)
        if is_frame and steps is None:
            raise UsageError(
                f"sample {name} is a picture and input {spec.name!r} has no preprocessing; give "
                "it with --preprocess, such as --preprocess letterbox,rgb,scale=1/255"
            )
        if rank is not None and array.ndim == rank - 1:
            array = array[None]
        if not _fits(array, spec):
            raise InputError(
                f"sample {name} is {array.dtype} of shape {array.shape}; input {spec} is needed"
            )
        return np.ascontiguousarray(array, spec.dtype.to_numpy())

    def _only_input(self, name: str) -> TensorSpec:
        if len(self._inputs) == 1:
            return self._inputs[0]
        raise UsageError(
            f"the model has inputs {', '.join(spec.name for spec in self._inputs)}, and sample "
            f"{name} fills one; give an .npz with an array for each"
        )


def open_samples(
    source: str | Path,
    inputs: Sequence[TensorSpec],
    *,
    preprocess: Mapping[str, Preprocess] | None = None,
    limit: int | None = None,
) -> Samples:
    """Return the samples of a path or of ``module:name``; nothing is read yet.

    Args:
        source: A folder (pictures, found recursively, sorted), a picture, a video, ``.npy``,
            ``.npz``, or ``module:name``, which imports the user's own module.
        inputs: The model's inputs.
        preprocess: How a frame becomes an input, by input name.
        limit: At most so many.

    Raises:
        UsageError: The source is of no known kind, or not there.
    """
    steps = dict(preprocess or {})
    return Samples(_source_of(str(source), inputs, steps), inputs, preprocess=steps, limit=limit)


def _source_of(
    text: str, inputs: Sequence[TensorSpec], preprocess: Mapping[str, Preprocess]
) -> Source:
    path = Path(text)
    channels = next((steps.frame_channels for steps in preprocess.values()), 3)
    suffix = path.suffix.lower()
    if path.is_dir() or (path.is_file() and suffix in PICTURES):
        return PictureSource(path, channels=channels)
    if path.is_file() and suffix in VIDEOS:
        return VideoSource(path, channels=channels)
    if path.is_file() and suffix in (".npy", ".npz"):
        return ArraySource(path, names=tuple(spec.name for spec in inputs))
    if path.exists():
        raise UsageError(
            f"{path} is no calibration data; give a folder of pictures, a picture "
            f"({', '.join(PICTURES)}), a video ({', '.join(VIDEOS)}), .npy, .npz or module:name"
        )
    if ":" in text and all(part.isidentifier() for part in text.replace(":", ".").split(".")):
        return ModuleSource(text)
    raise UsageError(f"{text} does not exist; give a folder, a file or module:name")


def _fits(array: Array, spec: TensorSpec) -> bool:
    if array.dtype.kind not in "fiub":
        return False
    if spec.shape is None:
        return True
    return array.ndim == len(spec.shape) and all(
        isinstance(dim, str) or dim == size
        for dim, size in zip(spec.shape, array.shape, strict=True)
    )
