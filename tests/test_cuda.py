"""The CUDA layer: the ctypes provider on a simulated CUDA, and the real library without a GPU."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cuda_simulation import simulated_cuda

from edgekit.errors import CudaError, RuntimeUnavailableError, UsageError
from edgekit.runtimes.cuda import PROVIDERS, open_cuda
from edgekit.runtimes.cuda.base import Cuda
from edgekit.runtimes.cuda.cudart import CudartCuda, _open


class _Way:
    """A line of the table whose provider is there already."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda

    def missing(self) -> tuple[str, ...]:
        return ()

    def load(self) -> Callable[[], Cuda]:
        return lambda: self._cuda


def _write(address: int, array: np.ndarray) -> None:  # type: ignore[type-arg]
    ctypes.memmove(address, array.ctypes.data, array.nbytes)


def _read(address: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:  # type: ignore[type-arg]
    made = np.empty(shape, dtype)
    ctypes.memmove(made.ctypes.data, address, made.nbytes)
    return made


def test_a_copy_goes_to_the_device_and_back() -> None:
    cuda = simulated_cuda()
    values = np.arange(12, dtype=np.float32)
    host, device = cuda.host_alloc(48), cuda.malloc(48)
    stream = cuda.stream_create()
    _write(host, values)
    cuda.copy(device, host, 48, stream)
    back = cuda.host_alloc(48)
    cuda.copy(back, device, 48, stream)
    cuda.stream_synchronize(stream)

    assert np.array_equal(_read(back, (12,), "float32"), values)
    for address in (host, back):
        cuda.host_free(address)
    cuda.free(device)
    cuda.stream_destroy(stream)
    assert not any(cuda.alive().values())


def test_mapped_memory_has_an_address_for_the_device() -> None:
    cuda = simulated_cuda()
    host = cuda.host_alloc(16, mapped=True)

    assert cuda.device_pointer(host) == host
    cuda.host_free(host)


def test_a_graph_does_again_what_was_captured() -> None:
    cuda = simulated_cuda()
    stream, source, target = cuda.stream_create(), cuda.malloc(4), cuda.malloc(4)
    cuda.graph_begin(stream)
    cuda.copy(target, source, 4, stream)
    graph = cuda.graph_end(stream)

    for value in (7, 11):
        _write(source, np.array([value], np.int32))
        cuda.graph_launch(graph, stream)
        cuda.stream_synchronize(stream)
        assert _read(target, (1,), "int32")[0] == value
    cuda.graph_destroy(graph)
    for address in (source, target):
        cuda.free(address)
    cuda.stream_destroy(stream)
    assert not any(cuda.alive().values())


def test_events_take_the_time() -> None:
    cuda = simulated_cuda()
    stream, start, stop = cuda.stream_create(), cuda.event_create(), cuda.event_create()
    cuda.event_record(start, stream)
    cuda.event_record(stop, stream)
    cuda.event_synchronize(stop)

    assert cuda.event_elapsed_ms(start, stop) == 1.5
    for event in (start, stop):
        cuda.event_destroy(event)
    cuda.stream_destroy(stream)
    assert not any(cuda.alive().values())


def test_properties_are_read_one_by_one() -> None:
    cuda = simulated_cuda()
    cuda.be(is_integrated=True)
    found = cuda.properties()

    assert (found.name, found.compute, found.sm_count) == ("Simulated GPU", (8, 7), 8)
    assert found.is_integrated and found.can_map_host
    assert cuda.runtime_version() == (12, 6)
    assert found.total_bytes == 1 << 30


def test_a_failure_names_the_function_and_cudas_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CUDA_FAIL", "cudaMalloc:2")

    with pytest.raises(
        CudaError,
        match=r"cudaMalloc failed: out of memory \(cudaErrorMemory\w+, CUDA error 2\); free ",
    ):
        simulated_cuda().malloc(64)


def test_a_failure_is_not_left_behind_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = simulated_cuda()
    monkeypatch.setenv("FAKE_CUDA_FAIL", "cudaMalloc:2:2")
    cuda.free(cuda.malloc(64))

    with pytest.raises(CudaError):
        cuda.malloc(64)
    assert cuda.last_error() == 0
    cuda.free(cuda.malloc(64))


def test_a_way_that_is_newer_than_the_driver_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    newer, fitting = simulated_cuda(), simulated_cuda()
    monkeypatch.setattr(newer, "runtime_version", lambda: (13, 0))
    ways = {"newer": _Way(newer), "fitting": _Way(fitting)}
    monkeypatch.delenv("EDGEKIT_CUDA", raising=False)
    monkeypatch.setattr("edgekit.runtimes.cuda.PROVIDERS", ways)

    assert open_cuda.__wrapped__() is fitting
    del ways["fitting"]
    assert open_cuda.__wrapped__() is newer


def test_without_a_driver_the_runtimes_version_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CUDA 11.8's own answers 35 to it (measured)."""
    cuda = simulated_cuda()
    cuda.have_driver(0, 0)
    cuda.be(devices=0)
    monkeypatch.setenv("FAKE_CUDA_FAIL", "cudaRuntimeGetVersion:35")
    monkeypatch.delenv("EDGEKIT_CUDA", raising=False)
    monkeypatch.setattr("edgekit.runtimes.cuda.PROVIDERS", {"cudart": _Way(cuda)})

    assert open_cuda.__wrapped__() is cuda
    assert cuda.device_count() == 0


def test_a_library_that_is_newer_than_the_driver_comes_last() -> None:
    cuda = simulated_cuda()
    cuda.have_driver(11, 4)

    assert _open([cuda.path, "libc.so.6"])[0] == "libc.so.6"
    assert _open([cuda.path])[0] == cuda.path
    cuda.have_driver(12, 2)  # the runtime is 12.6: minor versions are compatible
    assert _open([cuda.path, "libc.so.6"])[0] == cuda.path


def test_no_gpu_is_a_count_of_0_and_no_error() -> None:
    cuda = simulated_cuda()
    cuda.be(devices=0)

    assert cuda.device_count() == 0
    with pytest.raises(CudaError, match="no CUDA-capable device"):
        cuda.use(0)


def test_the_real_library_says_without_a_driver_that_there_is_no_gpu() -> None:
    try:
        cuda = CudartCuda()
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))
    if cuda.device_count():
        pytest.skip("there is a GPU here")

    assert cuda.runtime_version() >= (11, 4)
    with pytest.raises(CudaError, match="cudaMalloc failed"):
        cuda.malloc(64)


def test_a_library_that_is_no_cuda_is_refused() -> None:
    libc = Path(next(iter(Path("/").glob("lib*/**/libc.so.6")), Path("libc.so.6")))

    with pytest.raises(RuntimeUnavailableError, match="lacks a function of CUDA"):
        CudartCuda(libc)


def test_a_library_that_is_not_there_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'edgekit\[cuda\]'"):
        CudartCuda(tmp_path / "libcudart.so")


@pytest.mark.parametrize("name", ["cudart", "cuda.bindings", "pycuda"])
def test_every_provider_gives_the_whole_interface(name: str) -> None:
    if PROVIDERS[name].missing():
        pytest.skip(f"{name} is not installed here")
    try:
        found = PROVIDERS[name].load()
    except ImportError as error:  # PyCUDA without a driver
        pytest.skip(str(error))

    assert not getattr(found, "__abstractmethods__", None)


def test_an_unknown_way_is_refused_with_the_closest() -> None:
    with pytest.raises(UsageError, match="did you mean 'pycuda'"):
        open_cuda("pycudda")


def test_importing_the_layer_loads_no_vendor_library() -> None:
    import subprocess

    code = "import sys, edgekit.runtimes.cuda; print('cuda' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "False"]
