"""The power mode of a board, and whether its clocks are held."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit.runtimes.text_files import read_text

_TIMEOUT_S = 5
_GPU_NODES = ("*gpu*", "*ga10b*", "*gv11b*", "*gp10b*", "*gb10b*")
"""Names of the GPU in ``/sys/class/devfreq``: Orin, Xavier, TX2, Thor."""


@dataclass(frozen=True)
class PowerState:
    """How fast a board may run.

    Args:
        mode: Name of the ``nvpmodel`` mode, such as ``"MAXN"``; ``""`` where it is not told.
        are_clocks_held: Whether lowest and highest clock are equal, as ``jetson_clocks``
            makes them; None where the system does not tell.
        cpu_mhz: Highest clock allowed to the CPUs.
        gpu_mhz: Highest clock allowed to the GPU.
    """

    mode: str
    are_clocks_held: bool | None
    cpu_mhz: int | None
    gpu_mhz: int | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)


def read_power(root: Path = Path("/")) -> PowerState:
    """Return how fast the board may run."""
    cpus = [
        (_number(folder / "scaling_min_freq"), _number(folder / "scaling_max_freq"))
        for folder in sorted(root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq"))
    ]
    gpus = [
        (_number(folder / "min_freq"), _number(folder / "max_freq"))
        for pattern in _GPU_NODES
        for folder in sorted(root.glob(f"sys/class/devfreq/{pattern}"))
    ][:1]
    known = [(low, high) for low, high in (*cpus, *gpus) if low is not None and high is not None]
    cpu_khz = [high for _, high in cpus if high is not None]
    gpu_hz = [high for _, high in gpus if high is not None]
    return PowerState(
        mode=_read_mode(root),
        are_clocks_held=all(low == high for low, high in known) if known else None,
        cpu_mhz=max(cpu_khz) // 1000 if cpu_khz else None,
        gpu_mhz=max(gpu_hz) // 1_000_000 if gpu_hz else None,
    )


def parse_nvpmodel(text: str) -> str:
    """Return the mode in the answer of ``nvpmodel -q``, or ``""``."""
    found = re.search(r"NV Power Mode:\s*(\S+)", text)
    return found[1] if found else ""


def parse_mode_files(status: str, config: str) -> str:
    """Return the mode that nvpmodel's status file numbers and its configuration names."""
    number = re.search(r"pmode:0*(\d+)", status)
    if number is None:
        return ""
    named = re.search(rf"POWER_MODEL\s+ID={number[1]}\s+NAME=(\S+)", config)
    return named[1] if named else f"mode {number[1]}"


def _read_mode(root: Path) -> str:
    status = read_text(root / "var/lib/nvpmodel/status")
    mode = parse_mode_files(status, read_text(root / "etc/nvpmodel.conf"))
    program = shutil.which("nvpmodel") if root == Path("/") else None
    if mode or program is None:
        return mode
    try:
        done = subprocess.run(
            [program, "-q"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return parse_nvpmodel(done.stdout)


def _number(path: Path) -> int | None:
    text = read_text(path).strip()
    return int(text) if text.isdigit() else None
