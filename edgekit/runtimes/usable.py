"""Whether a runtime can be used here: installed, and, where it needs one, with a GPU."""

from __future__ import annotations

from edgekit.runtimes import RUNTIMES

NEEDS_GPU = ("tensorrt",)
"""Runtimes that an installed package does not yet make usable."""


def why_unusable(runtime: str) -> str:
    """Return why a runtime cannot run here and what to do; ``""`` where it can.

    Args:
        runtime: Name in ``RUNTIMES``.
    """
    entry = RUNTIMES[runtime]
    if runtime in NEEDS_GPU:
        return _why_no_gpu(runtime)
    if entry.missing():
        return f"not installed; run: pip install 'edgekit[{entry.extra}]'"
    return ""


def _why_no_gpu(runtime: str) -> str:
    from edgekit.runtimes.tensorrt.machine import device_count

    if not device_count():
        return "there is no NVIDIA GPU that CUDA can use here"
    if RUNTIMES[runtime].missing():
        return (
            "not installed; on a Jetson run: sudo apt install python3-libnvinfer, and make the "
            "environment with --system-site-packages; elsewhere: pip install 'edgekit[tensorrt]'"
        )
    return ""
