"""A set of samples with what is right for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgekit.errors import InputError, UsageError
from edgekit.tensor import TensorSpec

Array = NDArray[Any]
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class LabelledSample:
    """One set of inputs, and what is right.

    Args:
        origin: Where it comes from, such as a file's name.
        inputs: By input name: the tensor as the source model takes it, or a uint8 frame.
        expected: A class, an identity, a mask (height, width), rows of boxes in frame pixels,
            a tensor: what the metric takes; None without labels.
    """

    origin: str
    inputs: Mapping[str, Array]
    expected: Any = None


@dataclass(frozen=True)
class Wanted:
    """What the model takes, for those who read samples.

    Args:
        inputs: The model's inputs.
        frame_channels: Channels of a picture, 3 (blue first) or 1.
        labels: Names of the model's classes, in their order; may be empty.
    """

    inputs: Sequence[TensorSpec]
    frame_channels: int = 3
    labels: Sequence[str] = ()

    @property
    def picture_input(self) -> str:
        """Name of the input that a picture fills.

        Raises:
            UsageError: The model has several inputs.
        """
        if len(self.inputs) != 1:
            raise UsageError(
                f"the model has {len(self.inputs)} inputs; a picture fills one: give an .npz with "
                f"arrays {', '.join(spec.name for spec in self.inputs)} and labels"
            )
        return self.inputs[0].name


@dataclass(frozen=True)
class Validation:
    """Samples that are read when asked for, again at every iteration.

    Args:
        kind: Its line of ``VALIDATIONS``.
        description: What it is, in words, with how labels were numbered.
        is_labelled: Whether ``expected`` is there.
        readers: One for each sample.
    """

    kind: str
    description: str
    is_labelled: bool
    readers: Sequence[Callable[[], LabelledSample]]

    def __len__(self) -> int:
        return len(self.readers)

    def __iter__(self) -> Iterator[LabelledSample]:
        for read in self.readers:
            yield read()

    def thinned(self, count: int) -> Validation:
        """Return the set with at most so many samples, evenly spread over all."""
        total = len(self.readers)
        if count >= total:
            return self
        chosen = [self.readers[index * total // count] for index in range(count)]
        return replace(
            self,
            readers=chosen,
            description=f"{count} of the {self.description}",
        )

    def relabelled(self, labels: Sequence[Any], description: str) -> Validation:
        """Return the same samples with other labels; the samples are still read when asked for.

        Args:
            labels: One for each sample.
            description: What they are now, in words.
        """
        pairs = zip(self.readers, labels, strict=True)
        readers = [partial(_relabelled, read, label) for read, label in pairs]
        return replace(self, readers=readers, description=description, is_labelled=True)


def _relabelled(read: Callable[[], LabelledSample], label: Any) -> LabelledSample:
    return replace(read(), expected=label)


def masks_beside(folder: Path) -> Path:
    """Return ``testannot`` for ``test``: where CamVid's usual copies have the masks."""
    whole = folder.absolute()  # "." has no name
    return whole.parent / f"{whole.name}annot"


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)


def read_frame(path: Path, channels: int) -> Array:
    """Return a picture as uint8: (height, width, 3), blue first, or (height, width).

    Raises:
        InputError: It is not a picture that OpenCV can read.
    """
    import cv2

    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    frame: Array | None = cv2.imread(str(path), flag)
    if frame is None:
        raise InputError(f"{path} is not a picture that can be read; expected a JPEG or PNG file")
    return frame
