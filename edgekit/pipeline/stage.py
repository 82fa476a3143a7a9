"""A folder for files that are being made, gone whatever stops the work."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.signals import signals_wait


@contextmanager
def stage_folder() -> Iterator[Path]:
    """Make an empty folder and delete it afterwards.

    Ctrl-C and SIGTERM wait while it is made and while it is deleted: ``TemporaryDirectory``
    leaves the folder behind when one comes just then.
    """
    folder: Path | None = None
    try:
        with signals_wait():
            folder = Path(tempfile.mkdtemp(prefix="edgekit-"))
        yield folder
    finally:
        if folder is not None:
            with signals_wait():
                shutil.rmtree(folder, ignore_errors=True)
