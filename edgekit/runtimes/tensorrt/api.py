"""The one file that imports TensorRT: finds an edition and opens it."""

from __future__ import annotations

import importlib
from typing import Any

from edgekit.errors import MissingDependencyError, RuntimeUnavailableError, UsageError
from edgekit.registry import is_installed, unknown_name
from edgekit.runtimes.tensorrt.engine import EngineIo, RunSide
from edgekit.runtimes.tensorrt.network import BuildSide, Config

__all__ = ["Api", "Config", "EngineIo", "MODULES", "open_api"]

MODULES = {
    "full": "tensorrt",
    "lean": "tensorrt_lean",
    "dispatch": "tensorrt_dispatch",
    "rtx": "tensorrt_rtx",
}
"""Import names by edition, in the order of preference."""


class Api(BuildSide, RunSide):
    """All of TensorRT that EdgeKit uses.

    What NVIDIA answers with ``None``, ``False`` or -1 and a line in a log raises
    ``TensorRtError`` here, with the line, the node, the cause and what to do. Objects that it
    returns (builder, network, engine, context) are the vendor's own.

    On a machine without a GPU, 8.6 and the lean and dispatch editions end the *process* when a
    runtime is made: check for a GPU first, in a child (``probe``).
    """


def open_api(edition: str | None = None, *, needs_builder: bool = False) -> Api:
    """Import an edition of TensorRT.

    Args:
        edition: One of ``MODULES``; None takes the first that is installed.
        needs_builder: Whether one that only runs engines will not do.

    Raises:
        UsageError: There is no such edition.
        MissingDependencyError: None of those asked for is installed.
        RuntimeUnavailableError: It is installed and does not load, with the loader's words.
    """
    if edition is not None and edition not in MODULES:
        raise UsageError(unknown_name(edition, tuple(MODULES), kind="edition of TensorRT"))
    names = {edition: MODULES[edition]} if edition else MODULES
    reasons: list[str] = []
    for kind, name in names.items():
        if not is_installed(name):
            continue
        module = _import(name, reasons)
        api = None if module is None else Api(module, kind)
        if api is not None and (api.can_build or not needs_builder):
            return api
        if api is not None:
            reasons.append(f"{name}: this edition has no builder")
    if reasons:
        raise RuntimeUnavailableError(f"TensorRT does not load: {'; '.join(reasons)}")
    wanted = " or ".join(names.values())
    raise MissingDependencyError(
        f"{wanted} is not installed; on a Jetson run: sudo apt install python3-libnvinfer, "
        "and make the environment with --system-site-packages; on a desktop RTX GPU: "
        "pip install 'edgekit[tensorrt]'"
    )


def _import(name: str, reasons: list[str]) -> Any:
    """Return the module, or None after adding why it does not load."""
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as error:
        hint = ""
        if "libcublas" in str(error) or "libcudnn" in str(error):
            # Its plugin library links both; they come with CUDA and not with TensorRT's wheel.
            hint = " (install cuBLAS and cuDNN of the CUDA release that it was made for)"
        reasons.append(f"{name}: {error}{hint}")
        return None
    # A source stub of the package index imports as an empty package.
    if not hasattr(module, "Runtime"):
        reasons.append(f"{name}: the package is there, TensorRT's library is not")
        return None
    return module
