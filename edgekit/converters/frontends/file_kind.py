"""What a model file is, by its first bytes: names lie, and downloads fail quietly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import ModelFormatError

_HEAD_BYTES = 512


@dataclass(frozen=True)
class FileKind:
    """One format.

    Args:
        what: Its name, with an article.
        frontend: Name of the frontend that reads it; ``""`` where none does.
        advice: What the user can do where none does.
    """

    what: str
    frontend: str
    advice: str


_EXPORT = "export it to ONNX with its own framework and give that file"
_DOWNLOAD = "the download went wrong; fetch the model's own file again"

_KINDS: tuple[tuple[Callable[[bytes], bool], FileKind], ...] = (
    (
        lambda head: head.startswith(b"version https://git-lfs"),
        FileKind("a git-lfs pointer, not the model", "", "run: git lfs pull"),
    ),
    (
        lambda head: (
            head.lstrip(b"\xef\xbb\xbf \r\n\t")[:15]
            .lower()
            .startswith((b"<!doctype html", b"<html", b"<head", b"<body"))
        ),
        FileKind("a web page, not a model", "", _DOWNLOAD),
    ),
    (
        lambda head: head.lstrip().startswith(b"<?xml") or head.startswith(b"<net "),
        FileKind(
            "an XML file (OpenVINO IR, or an error page)",
            "",
            "give the ONNX model that it was made from",
        ),
    ),
    (
        lambda head: head[4:8] == b"TFL3",
        FileKind("a TFLite model", "", "give the ONNX model that it was made from"),
    ),
    (
        lambda head: head.startswith(b"\x89HDF\r\n\x1a\n"),
        FileKind("an HDF5 file (Keras .h5)", "", _EXPORT),
    ),
    (
        lambda head: head.startswith(b"PK\x03\x04"),
        FileKind("a zip archive (PyTorch .pt, Keras .keras, or a packed model)", "", _EXPORT),
    ),
    (
        lambda head: len(head) > 2 and head[0] == 0x80 and head[1] in range(2, 6),
        FileKind("a Python pickle (PyTorch checkpoint)", "", _EXPORT),
    ),
    (
        lambda head: head.startswith(b"\x1f\x8b"),
        FileKind("a gzip archive", "", "unpack it first"),
    ),
    (
        lambda head: head.startswith((b"\x12\x01\x00\x00\x00\x00\x00\x00",)),
        FileKind("an MXNet parameter file", "", _EXPORT),
    ),
    (
        lambda head: head.startswith((b"ftrt", b"ptrt")),
        FileKind("a TensorRT engine", "", "give the ONNX model that it was made from"),
    ),
    (
        lambda head: head.startswith((b"\x7fELF", b"MZ", b"\x89PNG", b"\xff\xd8\xff", b"%PDF")),
        FileKind("a program, picture or document, not a model", "", _DOWNLOAD),
    ),
    (
        lambda head: head.lstrip()[:1] in (b"{", b"["),
        FileKind("a JSON file, not a model", "", _DOWNLOAD),
    ),
)
_ONNX = FileKind("an ONNX model", "onnx", "")


def sniff(path: Path) -> FileKind:
    """Return what the file is; ONNX where nothing speaks against it.

    Raises:
        ModelFormatError: It is missing, empty, or not a readable file.
    """
    if path.is_dir():
        raise ModelFormatError(f"{path} is a folder; give the model file in it")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise ModelFormatError(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise ModelFormatError(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        raise ModelFormatError(f"{path} is empty; export or download it again")
    # ONNX has no signature of its own: a serialized message starts with a field's tag.
    return next((kind for is_it, kind in _KINDS if is_it(head)), _ONNX)
