"""The releases section of ``gpu_check.py``: what of NVIDIA's is installed here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import metadata

from edgekit.errors import MissingDependencyError
from edgekit.runtimes.cuda import PROVIDERS, open_cuda
from edgekit.runtimes.doctor import gather
from edgekit.runtimes.selftest import Check, Skip, run_checks
from edgekit.runtimes.tensorrt.api import MODULES, open_api

PREFIXES = ("tensorrt", "cuda-", "pycuda", "onnxruntime", "torch", "nvidia-")
"""Of the distributions that decide what a figure was measured with."""


def check_releases() -> tuple[Check, ...]:
    """Return what each edition of TensorRT is, the packages, and the driver."""
    checks: dict[str, Callable[[], str]] = {
        f"import {MODULES[edition]}": partial(_edition, edition) for edition in MODULES
    }
    checks |= {f"CUDA by {name}": partial(_cuda, name) for name in PROVIDERS}
    checks |= {"packages": _packages, "driver": _driver}
    return run_checks("releases", checks)


def _edition(edition: str) -> str:
    try:
        api = open_api(edition)
    except MissingDependencyError as error:
        raise Skip(f"{MODULES[edition]} is not installed") from error
    has = ", ".join(name for name, is_there in api.features.items() if is_there)
    does = "builds and runs" if api.can_build else "runs only"
    return f"{api.release}, {does}; has {has}"


def _cuda(name: str) -> str:
    missing = PROVIDERS[name].missing()
    if missing:
        raise Skip(f"{', '.join(missing)} is not installed")
    cuda = open_cuda(name)
    runtime, driver = cuda.runtime_version(), cuda.driver_version()
    return f"runtime {runtime[0]}.{runtime[1]}, the driver's newest {driver[0]}.{driver[1]}"


def _packages() -> str:
    found = {str(item.metadata["Name"]).lower(): item.version for item in metadata.distributions()}
    named = [f"{name} {found[name]}" for name in sorted(found) if name.startswith(PREFIXES)]
    if not named:
        raise Skip("none of them is a Python package here")
    return ", ".join(named)


def _driver() -> str:
    report = gather()
    board = "" if report.jetson is None else f"{report.jetson.model}, L4T {report.jetson.l4t}"
    gpus = ", ".join(f"{gpu.name}, driver {gpu.driver}" for gpu in report.gpus)
    if not (board or gpus):
        raise Skip("nvidia-smi tells of no GPU, and this is no Jetson")
    return "; ".join(filter(None, (board, gpus)))
