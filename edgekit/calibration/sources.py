"""Where raw samples come from; each kind yields them one by one, never all in memory.

To add a kind: one subclass of ``Source`` here, one line in ``samples._source_of``.
"""

from __future__ import annotations

import importlib
import sys
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import IO, TypeAlias

import cv2
import numpy as np

from edgekit.errors import CalibrationError, InputError, UsageError
from edgekit.graph import Array

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
VIDEOS = (".avi", ".mp4", ".mkv", ".mov", ".webm")
_LABELS = ("labels", "label")

Given: TypeAlias = "Array | Mapping[str, Array]"
"""One raw sample: the only input's array or frame, or all inputs by name."""


class Source(ABC):
    """Raw samples by name.

    Attributes:
        name: As the user gave it.
        count: How many there are; None where only reading tells.
    """

    name: str
    count: int | None

    @abstractmethod
    def read(self, chosen: Sequence[int] | None, skipped: list[str]) -> Iterator[tuple[str, Given]]:
        """Yield names and samples.

        Args:
            chosen: Ascending places of those wanted; None for all.
            skipped: Gets the name of each that cannot be read, with the reason.
        """


class PictureSource(Source):
    """A folder of pictures, found recursively and sorted by path; or one picture."""

    def __init__(self, path: Path, *, channels: int) -> None:
        self.name = str(path)
        self._root = path if path.is_dir() else path.parent
        self._files = _pictures_in(path) if path.is_dir() else [path]
        if not self._files:
            raise UsageError(f"{path} holds no pictures ({', '.join(PICTURES)})")
        self.count = len(self._files)
        self._flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR

    def read(self, chosen: Sequence[int] | None, skipped: list[str]) -> Iterator[tuple[str, Given]]:
        """Yield frames as OpenCV reads them."""
        for index in range(len(self._files)) if chosen is None else chosen:
            path = self._files[index]
            name = str(path.relative_to(self._root))
            frame = cv2.imread(str(path), self._flag)
            if frame is None:
                skipped.append(f"{name} is not a picture that can be read")
                continue
            yield name, frame


class VideoSource(Source):
    """A video's frames."""

    def __init__(self, path: Path, *, channels: int) -> None:
        self.name = str(path)
        self._is_grey = channels == 1
        video = self._open()
        # A container tells 0 or less where it does not know.
        self.count = max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0) or None
        video.release()

    def read(self, chosen: Sequence[int] | None, skipped: list[str]) -> Iterator[tuple[str, Given]]:
        """Yield frames; those between are skipped without being converted."""
        del skipped
        video = self._open()
        wanted = None if chosen is None else set(chosen)
        try:
            number = 0
            while video.grab():
                if wanted is None or number in wanted:
                    is_read, frame = video.retrieve()
                    if is_read:
                        yield f"frame {number}", self._in_colour(frame)
                number += 1
        finally:
            video.release()

    def _open(self) -> cv2.VideoCapture:
        video = cv2.VideoCapture(self.name)
        if not video.isOpened():
            raise InputError(f"{self.name} is not a video that OpenCV can read; re-encode it")
        return video

    def _in_colour(self, frame: Array) -> Array:
        if not self._is_grey or frame.ndim == 2:
            return frame
        grey: Array = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        return grey


class ArraySource(Source):
    """``.npy`` of shape (N, ...), or ``.npz`` with one such array per input.

    For a model with one input the array may have any name, and ``labels`` may lie beside it.
    """

    def __init__(self, path: Path, *, names: tuple[str, ...]) -> None:
        self.name = str(path)
        self._path = path
        self._names = names
        self._is_npz = path.suffix.lower() == ".npz"
        if not self._is_npz and len(names) != 1:
            raise UsageError(
                f"{path.name} fills one input, the model has {', '.join(names)}; give an .npz"
            )
        with self._rows() as rows:
            counts = {name: reader.count for name, reader in rows.items()}
        if len(set(counts.values())) != 1:
            raise InputError(f"the arrays of {path} have different numbers of samples: {counts}")
        self.count = next(iter(counts.values()))

    def read(self, chosen: Sequence[int] | None, skipped: list[str]) -> Iterator[tuple[str, Given]]:
        """Yield one row of every array; a file is read row by row, compressed or not."""
        del skipped
        wanted = None if chosen is None else set(chosen)
        with self._rows() as rows:
            for number in range(self.count or 0):
                sample = {name: reader.next() for name, reader in rows.items()}
                if wanted is None or number in wanted:
                    yield f"{self._path.name}[{number}]", sample

    def _rows(self) -> _RowReaders:
        return _RowReaders(self._path, self._names, is_npz=self._is_npz)


class ModuleSource(Source):
    """What a module of the user's own holds under a name: an iterable, or a function of it.

    Importing it runs its code; that is what it is for.
    """

    def __init__(self, text: str) -> None:
        self.name = text
        module, _, attribute = text.partition(":")
        # As python -m does, so that a file beside the user is found.
        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            self._items = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise UsageError(f"{text} cannot be imported: {error}; give MODULE:NAME") from error
        items = self._made()
        if iter(items) is items and not callable(self._items):
            raise UsageError(
                f"{text} is an iterator, which can be read once only; give a list, or a function "
                "that returns one"
            )
        self.count = len(items) if isinstance(items, Sized) else None

    def read(self, chosen: Sequence[int] | None, skipped: list[str]) -> Iterator[tuple[str, Given]]:
        """Yield what it yields."""
        del skipped
        wanted = None if chosen is None else set(chosen)
        for number, item in enumerate(self._made()):
            if wanted is not None and number not in wanted:
                continue
            name = f"{self.name}[{number}]"
            if isinstance(item, Mapping):
                yield name, {key: np.asarray(value) for key, value in item.items()}
            else:
                yield name, np.asarray(item)

    def _made(self) -> Iterable[Given]:
        items = self._items() if callable(self._items) else self._items
        if not isinstance(items, Iterable):
            raise UsageError(f"{self.name} is a {type(items).__name__}, expected an iterable")
        return items


class _RowReaders:
    """Readers of all arrays in a file, as a context."""

    def __init__(self, path: Path, names: tuple[str, ...], *, is_npz: bool) -> None:
        self._path, self._names, self._is_npz = path, names, is_npz
        self._open: list[IO[bytes] | zipfile.ZipFile] = []

    def __enter__(self) -> dict[str, _RowReader]:
        try:
            return {name: _RowReader(stream) for name, stream in self._streams().items()}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            self.__exit__()
            raise InputError(f"{self._path} is not a readable array file: {error}") from error
        except KeyError as error:
            self.__exit__()
            raise InputError(
                f"{self._path} lacks an array for input {error}: save it with "
                "numpy.savez(path, **{name: array})"
            ) from error

    def __exit__(self, *_: object) -> None:
        for item in reversed(self._open):
            item.close()

    def _streams(self) -> dict[str, IO[bytes]]:
        if not self._is_npz:
            self._open.append(self._path.open("rb"))
            return {self._names[0]: self._open[0]}  # type: ignore[dict-item]
        archive = zipfile.ZipFile(self._path)
        self._open.append(archive)
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        inputs = [name for name in members if name not in _LABELS]
        if len(self._names) == 1 and self._names[0] not in members and len(inputs) == 1:
            # One input, one array: its name says nothing. A validation set is read likewise.
            members[self._names[0]] = members[inputs[0]]
        streams = {name: archive.open(members[name]) for name in self._names}
        self._open += streams.values()
        return streams


class _RowReader:
    """Rows of one array in ``.npy`` format, read from a stream."""

    def __init__(self, stream: IO[bytes]) -> None:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, is_fortran, self._dtype = read(stream)
        if (is_fortran and len(shape) > 1) or self._dtype.hasobject or not shape:
            raise ValueError(
                f"array of {self._dtype}, shape {shape}; rows of numbers in C order are needed"
            )
        self.count, self._shape = int(shape[0]), tuple(shape[1:])
        self._nbytes = int(np.prod(self._shape, dtype=np.int64)) * self._dtype.itemsize
        self._stream = stream

    def next(self) -> Array:
        data = self._stream.read(self._nbytes)
        if len(data) != self._nbytes:
            raise CalibrationError("an array file ends early; write it again")
        row: Array = np.frombuffer(data, self._dtype).reshape(self._shape)
        return row


def _pictures_in(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURES and not path.name.startswith(".")
    )
