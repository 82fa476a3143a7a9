"""How much memory a process holds and the system has left, read from ``/proc``."""

from __future__ import annotations

import re
from pathlib import Path

from edgekit.runtimes.text_files import parse_meminfo, read_text

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
    found = re.search(r"^oom_kill (\d+)$", read_text(proc / "vmstat"), re.MULTILINE)
    return int(found[1]) if found else 0


def _field(path: Path, name: str) -> int | None:
    nbytes = parse_meminfo(read_text(path)).get(name)
    return None if nbytes is None else nbytes >> 20
