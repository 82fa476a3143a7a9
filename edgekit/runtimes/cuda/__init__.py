"""CUDA for the sessions: one small interface, three ways to it.

To add a way: subclass ``base.Cuda`` in a file of its own, and add one line to ``PROVIDERS``.
docs/cuda.md tells which is taken.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from edgekit.errors import CudaError, RuntimeUnavailableError
from edgekit.registry import Entry, pick

if TYPE_CHECKING:
    from edgekit.runtimes.cuda.base import Cuda

VARIABLE = "EDGEKIT_CUDA"

PROVIDERS: dict[str, Entry] = {
    "cuda.bindings": Entry(
        "edgekit.runtimes.cuda.bindings:BindingsCuda",
        needs=("cuda.bindings|cuda.cudart",),
        extra="cuda",
        summary="NVIDIA's own Python package",
    ),
    "cudart": Entry(
        "edgekit.runtimes.cuda.cudart:CudartCuda",
        summary="the runtime library by ctypes; needs no package",
    ),
    "pycuda": Entry(
        "edgekit.runtimes.cuda.pycuda:PyCuda",
        needs=("pycuda",),
        extra="pycuda",
        summary="PyCUDA, in the primary context",
    ),
}
"""The ways, the one that is tried first first."""


@lru_cache(maxsize=4)
def open_cuda(name: str | None = None) -> Cuda:
    """Return CUDA by the first way that works here, the same to all callers.

    Args:
        name: Name in ``PROVIDERS``; None takes what ``EDGEKIT_CUDA`` names, or tries all.

    Raises:
        UsageError: There is no such way.
        MissingDependencyError: The one that was named is not installed.
        RuntimeUnavailableError: None works here; the message gives the reason of each.
    """
    wanted = name or os.environ.get(VARIABLE) or ""
    if wanted:
        entry = pick(PROVIDERS, wanted, kind="way to CUDA")
        try:
            made: Cuda = entry.load()()
        except ImportError as error:  # PyCUDA's, where there is no driver
            raise RuntimeUnavailableError(f"{wanted} does not load: {error}") from error
        return made
    return _first_that_works()


def _first_that_works() -> Cuda:
    reasons, newer = [], []
    for known, entry in PROVIDERS.items():
        if entry.missing():
            reasons.append(f"{known}: not installed")
            continue
        try:
            found: Cuda = entry.load()()
        except (RuntimeUnavailableError, CudaError, ImportError) as error:
            reasons.append(f"{known}: {error}")
            continue
        if _fits_driver(found):
            return found
        newer.append(found)
    if newer:
        return newer[0]
    raise RuntimeUnavailableError("CUDA cannot be used here:\n  " + "\n  ".join(reasons))


def _fits_driver(cuda: Cuda) -> bool:
    """Whether the driver is new enough: pip gives cuda-bindings 13 to a JetPack 6, with CUDA 12."""
    from edgekit.runtimes.cuda.base import is_newer

    driver = cuda.driver_version()
    # Without a driver CUDA 11 does not even tell its own version.
    return not driver[0] or not is_newer(cuda.runtime_version(), than_driver=driver)
