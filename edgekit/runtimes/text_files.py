"""Reading the system's own small text files."""

from __future__ import annotations

import re
from pathlib import Path


def read_text(path: Path) -> str:
    """Return a file's text, empty where it is missing or unreadable."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def parse_meminfo(text: str) -> dict[str, int]:
    """Return the lines of ``/proc/meminfo``, or a process's status, with a unit; in bytes."""
    pattern = r"^(\w+):\s+(\d+) kB$"
    return {name: int(size) * 1024 for name, size in re.findall(pattern, text, re.MULTILINE)}
