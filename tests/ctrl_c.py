"""Ctrl-C as a program at a terminal gets it, whatever this process was started by.

A shell starts what it puts into the background with SIGINT ignored, and a test runner may take
Python's handler away: then the signal would end the process, or do nothing.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def ctrl_c_interrupts() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt within the block."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_in_child(module: str, function: str, folder: Path) -> None:
    """Call a test module's function with a folder, in a process of its own.

    A signal that a process sends to itself concerns all that runs in it, such as the
    connection of a test runner's worker.
    """
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from pathlib import Path\nimport {module}\n"
        f"{module}.{function}(Path({str(folder)!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
