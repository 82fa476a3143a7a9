"""The interpreter, the C library, the operating system and the memory."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from edgekit.runtimes.text_files import parse_meminfo, read_text


@dataclass(frozen=True)
class Host:
    """Where the facts are read from.

    Args:
        root: Folder that holds ``/proc``, ``/etc`` and ``/usr``.
        system: ``"Linux"``, ``"Darwin"``, ``"Windows"``.
        machine: Architecture, such as ``"x86_64"`` or ``"aarch64"``.
        python: Version of the interpreter, three numbers.
        glibc: Version of the GNU C library; None on another one.
        executable: Path of the interpreter.
        is_venv: Whether the interpreter is in a virtual environment.
        sees_system_packages: Whether it sees the system's packages.
        search_path: Folders of installed packages.
    """

    root: Path
    system: str
    machine: str
    python: tuple[int, int, int]
    glibc: tuple[int, int] | None
    executable: str = ""
    is_venv: bool = False
    sees_system_packages: bool = True
    search_path: tuple[str, ...] = ()

    @classmethod
    def here(cls) -> Host:
        """Return this machine."""
        is_venv = sys.prefix != sys.base_prefix
        settings = read_text(Path(sys.prefix) / "pyvenv.cfg") if is_venv else ""
        return cls(
            root=Path("/"),
            system=platform.system(),
            machine=platform.machine(),
            python=sys.version_info[:3],
            glibc=parse_glibc(" ".join(platform.libc_ver())),
            executable=sys.executable,
            is_venv=is_venv,
            sees_system_packages=not is_venv or sees_system_packages(settings),
            search_path=tuple(folder or "." for folder in sys.path),
        )


@dataclass(frozen=True)
class Memory:
    """Main memory, in bytes.

    Args:
        total: All of it.
        available: What a new program can have.
        limit: What the container allows; None without a limit.
    """

    total: int
    available: int
    limit: int | None = None


def sees_system_packages(pyvenv_cfg: str) -> bool:
    """Return whether a virtual environment's settings let the system's packages in."""
    pattern = r"^\s*include-system-site-packages\s*=\s*true\s*$"
    return bool(re.search(pattern, pyvenv_cfg, re.IGNORECASE | re.MULTILINE))


def parse_glibc(text: str) -> tuple[int, int] | None:
    """Return the version in ``"glibc 2.31"``; None for another C library."""
    found = re.fullmatch(r"glibc (\d+)\.(\d+).*", text.strip())
    return (int(found[1]), int(found[2])) if found else None


def read_os(root: Path) -> str:
    """Return the system's own name for itself, from os-release(5)."""
    for place in ("etc/os-release", "usr/lib/os-release"):
        found = re.search(r'^PRETTY_NAME="?([^"\n]*)', read_text(root / place), re.MULTILINE)
        if found:
            return found[1]
    return platform.platform() if root == Path("/") else "unknown"


def read_memory(root: Path) -> Memory | None:
    """Return the memory, from proc(5) and the container's limit (cgroup version 2)."""
    sizes = parse_meminfo(read_text(root / "proc/meminfo"))
    if "MemTotal" not in sizes:
        return None
    limit = read_text(root / "sys/fs/cgroup/memory.max").strip()
    total = sizes["MemTotal"]
    return Memory(
        total=total,
        available=sizes.get("MemAvailable", 0),
        limit=int(limit) if limit.isdigit() and int(limit) < total else None,
    )


def cpu_count() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_swap(root: Path) -> int | None:
    """Return the size of the swap space in bytes; None where the system does not tell."""
    return parse_meminfo(read_text(root / "proc/meminfo")).get("SwapTotal")
