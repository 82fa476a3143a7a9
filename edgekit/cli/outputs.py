"""Where a command may write; found out before the work, not after it."""

from __future__ import annotations

import os
from pathlib import Path

from edgekit.errors import UsageError


def output_file(text: str) -> Path:
    """Return the path of a file that can be written; one that is there is replaced.

    Raises:
        UsageError: It is a folder or a device, or its folder is not there or read-only.
    """
    path = Path(text)
    if path.is_dir():
        raise UsageError(f"{text or 'the empty path'} is a folder; give the name of a file")
    if path.exists() and not path.is_file():
        raise UsageError(f"{text} is a device, which would be replaced; give the name of a file")
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist; create it first")
    check_writable(path.parent)
    return path


def check_writable(folder: Path) -> None:
    """Refuse a folder that nothing can be written into.

    Raises:
        UsageError: It is there, and is read-only or of another user.
    """
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(
            f"the folder {folder} cannot be written to; give another, or change its permissions"
        )
