"""What a model is run on to be checked: the user's own samples, or seeded noise."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.errors import InputError, UsageError
from edgekit.graph import Array
from edgekit.preprocess import Preprocess
from edgekit.tensor import TensorSpec

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class Sample:
    """One set of inputs.

    Args:
        origin: Where it comes from: a file's name, or ``"noise, seed 0"``.
        tensors: Every input as the source model takes it, by name.
        frames: For inputs with preprocessing, the uint8 frame that the tensor was made of.
    """

    origin: str
    tensors: Mapping[str, Array]
    frames: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)

    def feed(self, artifact: Artifact) -> dict[str, Array]:
        """Return what the artifact takes: frames where its preprocessing is fused.

        Raises:
            UsageError: It takes frames, and the sample holds only the tensor.
        """
        missing = [name for name in artifact.fused_preprocess if name not in self.frames]
        if missing:
            raise UsageError(
                f"{artifact.name} takes camera frames for {', '.join(missing)}; {self.origin} "
                "holds the preprocessed tensor; give a picture"
            )
        fused = {name: self.frames[name] for name in artifact.fused_preprocess}
        return {**self.tensors, **fused}


def noise_samples(
    inputs: Sequence[TensorSpec], *, preprocess: Mapping[str, Preprocess], seed: int = 0
) -> list[Sample]:
    """Return two different samples of seeded noise, of other sizes on dynamic axes.

    An input with preprocessing gets a frame of even noise, preprocessed; the others get
    what ``gate.seeded_feeds`` gives them.

    Args:
        inputs: The model's inputs.
        preprocess: Preprocessing by input name.
        seed: Same seed, same numbers, on every machine.
    """
    from edgekit.converters.gate import seeded_feeds

    samples: list[Sample] = []
    for number, feed in enumerate(seeded_feeds(inputs, seed=seed)):
        generator = np.random.default_rng([seed, number])
        frames: dict[str, NDArray[np.uint8]] = {}
        for spec in inputs:
            if spec.name in preprocess:
                sized = spec.with_shape(feed[spec.name].shape)
                frames[spec.name] = _noise_frame(sized, preprocess[spec.name], generator)
                feed[spec.name] = preprocess[spec.name].apply(frames[spec.name], sized)
        samples.append(Sample(f"noise, seed {seed}", feed, frames))
    return samples


def sample_from_file(
    path: Path, inputs: Sequence[TensorSpec], *, preprocess: Mapping[str, Preprocess]
) -> Sample:
    """Return a sample read from a picture or an ``.npz`` of the model's inputs.

    Args:
        path: A picture, for a model whose only input has preprocessing; or an ``.npz`` with
            one array per input, by name: the tensor itself, or a uint8 frame to preprocess.
        inputs: The model's inputs.
        preprocess: Preprocessing by input name.

    Raises:
        UsageError: The file is of another kind, or a picture does not suffice.
        InputError: An input is missing from it, or the file cannot be read.
    """
    if path.suffix.lower() in PICTURES:
        arrays = _arrays_of_picture(path, inputs, preprocess=preprocess)
    elif path.suffix.lower() == ".npz":
        arrays = _arrays_of_npz(path, inputs)
    else:
        raise UsageError(f"{path} is neither a picture ({', '.join(PICTURES)}) nor an .npz file")
    tensors: dict[str, Array] = {}
    frames: dict[str, NDArray[np.uint8]] = {}
    for spec in inputs:
        array = arrays[spec.name]
        if spec.name in preprocess and array.dtype == np.uint8 and array.ndim in (2, 3):
            frames[spec.name] = array.astype(np.uint8)
            array = preprocess[spec.name].apply(frames[spec.name], spec)
        tensors[spec.name] = _checked(array, spec, path)
    return Sample(path.name, tensors, frames)


def read_picture(path: Path, *, channels: int = 3) -> NDArray[np.uint8]:
    """Return a picture as uint8: (height, width, 3), blue first, or (height, width) in grey.

    Raises:
        InputError: It is not a picture that OpenCV can read.
    """
    import cv2

    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    frame: NDArray[np.uint8] | None = cv2.imread(str(path), flag)
    if frame is None:
        raise InputError(f"{path} is not a picture that can be read; expected a JPEG or PNG file")
    return frame


def _noise_frame(
    spec: TensorSpec, preprocess: Preprocess, generator: np.random.Generator
) -> NDArray[np.uint8]:
    shape = spec.static_shape
    if len(shape) != 4:
        raise UsageError(f"input {spec} takes no picture: four axes are needed; drop --preprocess")
    # (1, C, H, W) or (1, H, W, C)
    height, width = shape[2:] if preprocess.layout.value == "NCHW" else shape[1:3]
    frame_shape = (height, width, preprocess.frame_channels)
    return generator.integers(0, 256, frame_shape, dtype=np.uint8)


def _arrays_of_picture(
    path: Path, inputs: Sequence[TensorSpec], *, preprocess: Mapping[str, Preprocess]
) -> dict[str, Array]:
    if len(inputs) != 1:
        raise UsageError(
            f"the model has {len(inputs)} inputs ({', '.join(spec.name for spec in inputs)}); "
            "a picture fills one; give an .npz with an array for each"
        )
    spec = inputs[0]
    if spec.name not in preprocess:
        raise UsageError(
            f"input {spec.name!r} has no preprocessing, so a picture cannot become {spec}; "
            "give it with --preprocess, such as --preprocess stretch,rgb,scale=1/255"
        )
    return {spec.name: read_picture(path, channels=preprocess[spec.name].frame_channels)}


def _arrays_of_npz(path: Path, inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    try:
        # No pickle: a sample file may come from anywhere.
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a readable .npz file: {error}") from error
    missing = [spec.name for spec in inputs if spec.name not in arrays]
    if missing:
        raise InputError(
            f"{path} holds {', '.join(arrays) or 'nothing'}; it lacks {', '.join(missing)}: "
            "save it with numpy.savez(path, **{name: array})"
        )
    return arrays


def _checked(array: Array, spec: TensorSpec, path: Path) -> Array:
    wanted = spec.shape
    fits = wanted is None or (
        array.ndim == len(wanted)
        and all(isinstance(d, str) or d == n for d, n in zip(wanted, array.shape, strict=True))
    )
    if not fits or array.dtype != spec.dtype.to_numpy():
        raise InputError(
            f"{spec.name!r} in {path} is {array.dtype} of shape {array.shape}; the model takes "
            f"{spec}"
        )
    if spec.dtype.is_float and not np.isfinite(array).all():
        raise InputError(f"{spec.name!r} in {path} holds NaN or infinity; the goldens need numbers")
    return array
