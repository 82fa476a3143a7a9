"""Weights that lie in files beside the ONNX file, confined to its folder."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from edgekit.errors import ModelFormatError

MAP_FROM_BYTES = 1 << 20
"""Smaller files are read: a mapping costs a page per view and an open file."""


def read_buffer(path: Path) -> memoryview:
    """Return a file's content, mapped where it is large.

    Raises:
        ModelFormatError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_size < MAP_FROM_BYTES:
                return memoryview(file.read())
            # A private mapping: pages come and go with the system's cache, not with our memory.
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise ModelFormatError(f"{path} cannot be read: {error.strerror or error}") from error


class ExternalFiles:
    """The files beside one model; each is opened once.

    Args:
        folder: The model's folder; None where the model came as bytes.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._buffers: dict[Path, memoryview] = {}

    def read(self, tensor: str, entries: Mapping[str, str]) -> memoryview:
        """Return the bytes of one tensor.

        Args:
            tensor: Its name, for messages.
            entries: The TensorProto's external_data: location, offset, length.

        Raises:
            ModelFormatError: The path leaves the folder, or the file is missing or short.
        """
        location = entries.get("location", "")
        buffer = self._open(tensor, location)
        try:
            offset = int(entries.get("offset", "0"))
            length = int(entries.get("length", str(len(buffer) - offset)))
        except ValueError as error:
            raise ModelFormatError(
                f"tensor {tensor!r} has the external data {dict(entries)}; offset and length must "
                "be numbers"
            ) from error
        if offset < 0 or length < 0 or offset + length > len(buffer):
            raise ModelFormatError(
                f"tensor {tensor!r} needs bytes {offset} to {offset + length} of {location!r}, "
                f"which has {len(buffer)}; the file is truncated or belongs to another model"
            )
        return buffer[offset : offset + length]

    def _open(self, tensor: str, location: str) -> memoryview:
        if self._folder is None:
            raise ModelFormatError(
                f"tensor {tensor!r} is stored in the file {location!r}; read the model from its "
                "path, not from bytes"
            )
        path = _confined(tensor, location, self._folder)
        if path not in self._buffers:
            if not path.is_file():
                raise ModelFormatError(
                    f"tensor {tensor!r} is stored in {location!r}, which is not in {self._folder}; "
                    "put the file beside the model"
                )
            self._buffers[path] = read_buffer(path)
        return self._buffers[path]


def _confined(tensor: str, location: str, folder: Path) -> Path:
    relative = PurePosixPath(location)
    unsafe = (
        not location
        or "\0" in location
        or "\\" in location
        or ":" in location
        or relative.is_absolute()
        or ".." in relative.parts
    )
    path = folder / relative
    if not unsafe:
        # Links are followed first, so that none leads out of the folder.
        unsafe = not path.resolve().is_relative_to(folder.resolve())
    if unsafe:
        raise ModelFormatError(
            f"tensor {tensor!r} is stored in {location!r}, outside the model's folder; this model "
            "is not safe to read"
        )
    return path
