"""What a user can do about the facts, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.runtimes.doctor import Report
    from edgekit.runtimes.doctor.nvidia import Bindings
    from edgekit.runtimes.doctor.system import Host

_SMALL_BYTES = 9 << 30
_SWAP_BYTES = 4 << 30

FIRST_PYTHON = (3, 10)
"""As ``requires-python`` of pyproject.toml."""


def advise(report: Report) -> tuple[str, ...]:
    """Return what to do, the most important first; empty where all is well."""
    lines = []
    if report.host.python[:2] < FIRST_PYTHON:
        lines.append(
            f"EdgeKit needs Python {_dots(FIRST_PYTHON)}; this is {_dots(report.host.python)}"
        )
    for runtime in report.runtimes:
        lines += [f"{runtime.name}: {problem}" for problem in runtime.problems]
    if not any(runtime.is_installed for runtime in report.runtimes):
        offers = [runtime.install for runtime in report.runtimes if runtime.install]
        if offers:
            lines.append(f"no runtime is installed; run: {offers[0]}")
    if not report.opencv:
        lines.append("pictures need OpenCV; run: pip install 'edgekit[vision]'")
    if len(report.opencv) > 1:
        names = " ".join(package.name for package in report.opencv)
        lines.append(
            f"several OpenCV packages write the same folder ({names}); keep one: "
            f"pip uninstall {names}, then pip install 'edgekit[vision]'"
        )
    return (*lines, *_tensorrt_lines(report), *_board_lines(report))


def _tensorrt_lines(report: Report) -> list[str]:
    if report.tensorrt:
        return []
    if report.bindings:
        return [_how_to_see(report.bindings, report.host)]
    if report.jetson is not None:
        return [
            "TensorRT's Python module is not installed; run: sudo apt install python3-libnvinfer"
        ]
    if report.gpus or report.driver:
        return ["TensorRT for this GPU is not installed; run: pip install 'edgekit[tensorrt]'"]
    return []


def _board_lines(report: Report) -> list[str]:
    """Return what makes a board's builds fail and its figures worthless."""
    if report.jetson is None:
        return []
    lines = []
    is_small = report.memory is not None and report.memory.total < _SMALL_BYTES
    if is_small and report.swap is not None and report.swap < _SWAP_BYTES:
        lines.append(
            "a board of 8 GB or less runs out of memory while TensorRT builds; add swap: "
            "sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && "
            "sudo mkswap /swapfile && sudo swapon /swapfile"
        )
    power = report.power
    if power is not None and power.mode and not power.mode.upper().startswith("MAXN"):
        lines.append(
            f"the power mode is {power.mode}; sudo nvpmodel -q lists the others, and engines and "
            "figures of one do not hold for another"
        )
    if power is not None and power.are_clocks_held is False:
        lines.append("the clocks move with the load; before measuring run: sudo jetson_clocks")
    if not report.cuda:
        lines.append(
            "CUDA's runtime library is not installed; run: sudo apt install nvidia-jetpack"
        )
    return lines


def _how_to_see(bindings: tuple[Bindings, ...], host: Host) -> str:
    place = f"TensorRT is in {bindings[0].path}"
    fits = [item for item in bindings if item.python in (None, host.python[:2])]
    if not fits:
        versions = " and ".join(_dots(item.python) for item in bindings if item.python)
        first = bindings[0].python or host.python[:2]
        return (
            f"{place} for Python {versions}, and this is Python {_dots(host.python)}; make the "
            f"environment with that one: python{_dots(first)} -m venv --system-site-packages .venv"
        )
    if host.is_venv and not host.sees_system_packages:
        return (
            f"{place}, which this virtual environment does not see; make it again: "
            f"python{_dots(host.python[:2])} -m venv --system-site-packages .venv"
        )
    return f"{place}, which {host.executable} does not look into; use /usr/bin/python3"


def _dots(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
