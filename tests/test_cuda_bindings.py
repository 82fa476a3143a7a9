"""NVIDIA's own Python package, the real one, without a GPU: names, parameters, numbers."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from edgekit.errors import CudaError, RuntimeUnavailableError
from edgekit.runtimes.cuda import cudart, open_cuda
from edgekit.runtimes.cuda.base import Cuda

runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")

BINDINGS_CALL = re.compile(r"_(?:call|one)\(cudart\.(cuda\w+)([^()]*)\)")


def test_nvidias_package_has_all_that_the_provider_calls() -> None:
    source = (Path(inspect.getfile(Cuda)).parent / "bindings.py").read_text()
    names = set(re.findall(r"\bcudart\.(cuda[\w.]+)", source))
    attributes = set(re.findall(r"kind\.(cudaDevAttr\w+)", source))

    assert len(names) > 30 and len(attributes) == 5
    assert [name for name in names if not _has(runtime, name)] == []
    assert [name for name in attributes if not _has(runtime.cudaDeviceAttr, name)] == []


def test_nvidias_package_takes_as_many_values_as_the_provider_gives() -> None:
    source = (Path(inspect.getfile(Cuda)).parent / "bindings.py").read_text()
    calls = BINDINGS_CALL.findall(source)

    assert len(calls) > 25
    for name, values in calls:
        inspect.signature(getattr(runtime, name)).bind(*range(values.count(",")))


def test_nvidias_package_names_the_errors_that_mean_no_gpu() -> None:
    from edgekit.runtimes.cuda.bindings import _NO_DEVICE as NAMES
    from edgekit.runtimes.cuda.cudart import _NO_DEVICE as NUMBERS

    assert {int(getattr(runtime.cudaError_t, name)) for name in NAMES} == NUMBERS


def test_numbers_of_the_ctypes_provider_are_nvidias() -> None:
    known = runtime.cudaDeviceAttr

    assert {
        "sm_count": known.cudaDevAttrMultiProcessorCount,
        "integrated": known.cudaDevAttrIntegrated,
        "can_map_host": known.cudaDevAttrCanMapHostMemory,
        "major": known.cudaDevAttrComputeCapabilityMajor,
        "minor": known.cudaDevAttrComputeCapabilityMinor,
    } == cudart._ATTRIBUTES
    assert (runtime.cudaHostAllocMapped, runtime.cudaHostAllocPortable) == (
        cudart._MAPPED,
        cudart._PORTABLE,
    )
    assert runtime.cudaStreamNonBlocking == cudart._STREAM_NON_BLOCKING
    assert runtime.cudaMemcpyKind.cudaMemcpyDefault == cudart._COPY_DEFAULT
    mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    assert mode == cudart._CAPTURE_THREAD_LOCAL


def _has(module: object, path: str) -> bool:
    for name in path.split("."):
        module = getattr(module, name, None)
    return module is not None


def test_nvidias_package_counts_no_gpu_without_a_driver() -> None:
    try:
        cuda = open_cuda("cuda.bindings")
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))

    assert cuda.device_count() >= 0
    if not cuda.device_count():
        with pytest.raises(CudaError, match="cudaMalloc failed"):
            cuda.malloc(64)
