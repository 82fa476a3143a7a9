"""Source models to ``Graph``.

To add a frontend: one file here with ``load_x(path, *, shapes) -> Graph``, one line in
``FRONTENDS``, one extra in pyproject.toml. ``shapes`` fixes inputs by name (None: as in
the model); ``shapes.fix_shapes`` does it on any graph. ``file_kind.py`` tells the formats
apart by their first bytes, so that a file under a wrong name gets a clear error.
"""

from __future__ import annotations

from pathlib import Path

from edgekit.converters.frontends.file_kind import sniff
from edgekit.errors import ModelFormatError
from edgekit.registry import Entry

FRONTENDS: dict[str, Entry] = {
    "onnx": Entry(
        "edgekit.converters.frontends.onnx:load_onnx", ("onnx",), "convert", "ONNX, opset 7 up"
    ),
}


def frontend_of(path: Path) -> Entry:
    """Return the frontend that reads the file.

    Raises:
        ModelFormatError: There is none; the message says what the file is.
    """
    kind = sniff(path)
    if kind.frontend in FRONTENDS:
        return FRONTENDS[kind.frontend]
    raise ModelFormatError(f"{path} is {kind.what}; {kind.advice}")
