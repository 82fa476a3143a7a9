"""How much memory a process holds and the system has left, read from ``/proc``."""

from __future__ import annotations

import re
from pathlib import Path

_PROC = Path("/proc")


def resident_mib(pid: int, *, proc: Path = _PROC) -> int | None:
    """Return what a process holds now; None where the system does not tell."""
    return _field(proc / str(pid) / "status", "VmRSS")


def peak_mib(pid: int, *, proc: Path = _PROC) -> int | None:
    """Return the most that a process has held."""
    return _field(proc / str(pid) / "status", "VmHWM")


def available_mib(*, proc: Path = _PROC) -> int | None:
    """Return what programs can still take without swapping.

    On a Jetson the GPU's memory is the system's: this is the figure that falls while TensorRT
    allocates on the device, which a process's own does not show.
    """
    return _field(proc / "meminfo", "MemAvailable")


def count_oom_kills(*, proc: Path = _PROC) -> int:
    """Return how many processes the kernel has killed for memory since it started."""
    found = re.search(r"^oom_kill (\d+)$", _text(proc / "vmstat"), re.MULTILINE)
    return int(found[1]) if found else 0


def _field(path: Path, name: str) -> int | None:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _text(path), re.MULTILINE)
    return int(found[1]) // 1024 if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
