"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from edgekit.bundle import is_bundle
from edgekit.errors import UsageError


def write_text(path: Path, text: str, *, suffix: str) -> None:
    """Write text as UTF-8; an old file at that path stays until the new one is whole.

    Args:
        path: Where to.
        text: What.
        suffix: What such a file is called, as ``".html"``, for the error's words.

    Raises:
        UsageError: Something that is no such file is at that path, or its folder is missing.
    """
    if path.is_dir() or is_bundle(path):
        raise UsageError(f"{path} is a folder or a bundle; give the name of a file in {suffix}")
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist; make it, or choose another")
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
