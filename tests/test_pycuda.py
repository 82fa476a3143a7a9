"""The PyCUDA provider on a simulated ``pycuda.driver``; not verified on hardware."""

from __future__ import annotations

import ctypes
import gc
import importlib
import inspect
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from cuda_simulation import SimulatedCuda, simulated_cuda
from pycuda_simulation import simulated_driver

from edgekit.errors import CudaError
from edgekit.runtimes.cuda.base import Cuda
from edgekit.runtimes.selftest import PASSED, SKIPPED
from edgekit.runtimes.selftest import cuda as cuda_checks

PROVIDER = "edgekit.runtimes.cuda.pycuda"


class Bench:
    """The provider, the simulated driver under it, and the simulated CUDA under that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.simulation: SimulatedCuda = simulated_cuda()
        self.driver = simulated_driver(self.simulation)
        package = ModuleType("pycuda")
        package.driver = self.driver  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", self.driver)
        monkeypatch.delitem(sys.modules, PROVIDER, raising=False)
        self.module = importlib.import_module(PROVIDER)
        self.cuda: Cuda = self.module.PyCuda()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(monkeypatch)
    made.cuda.use(0)
    yield made
    made.cuda._close()  # type: ignore[attr-defined]
    sys.modules.pop(PROVIDER, None)


def test_a_copy_goes_to_the_device_and_back(bench: Bench) -> None:
    cuda, before = bench.cuda, bench.simulation.alive()
    values = np.arange(12, dtype=np.float32)
    source, target = cuda.host_alloc(48), cuda.host_alloc(48, mapped=True)
    first, second, stream = cuda.malloc(48), cuda.malloc(48), cuda.stream_create()
    ctypes.memmove(source, values.ctypes.data, 48)
    cuda.copy(first, source, 48, stream)
    cuda.copy(second, first, 48, stream)
    cuda.copy(target, second, 48, stream)
    cuda.stream_synchronize(stream)

    assert ctypes.string_at(target, 48) == values.tobytes()
    assert cuda.device_pointer(target) == target
    for address in (source, target):
        cuda.host_free(address)
    for address in (first, second):
        cuda.free(address)
    cuda.stream_destroy(stream)
    gc.collect()
    assert bench.simulation.alive() == before


def test_a_copy_from_within_pinned_memory_is_one_from_the_host(bench: Bench) -> None:
    cuda = bench.cuda
    host, device, stream = cuda.host_alloc(8), cuda.malloc(8), cuda.stream_create()
    ctypes.memmove(host, b"abcdefgh", 8)
    cuda.copy(device, host + 4, 4, stream)

    assert ctypes.string_at(device, 4) == b"efgh"


def test_events_take_the_time(bench: Bench) -> None:
    cuda = bench.cuda
    stream, start, stop = cuda.stream_create(), cuda.event_create(), cuda.event_create()
    cuda.event_record(start, stream)
    cuda.event_record(stop, stream)
    cuda.event_synchronize(stop)

    assert cuda.event_elapsed_ms(start, stop) == 1.5


def test_properties_are_those_of_the_device(bench: Bench) -> None:
    assert bench.cuda.properties() == bench.simulation.properties()
    assert bench.cuda.driver_version() == (12, 6)


def test_the_checks_for_a_gpu_run_without_graphs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_checks, "BYTES", 4096)
    monkeypatch.setattr(cuda_checks, "is_installed", lambda name: False)
    found = cuda_checks.check_provider("pycuda", bench.cuda)

    assert {check.name: check.status for check in found if check.status != PASSED} == {
        "graph, pycuda": SKIPPED,
        "a tensor to torch, pycuda": SKIPPED,
        "a tensor from torch, pycuda": SKIPPED,
    }, found
    gc.collect()
    assert set(bench.simulation.alive().values()) == {0}


def test_there_are_no_graphs_and_the_error_says_what_has_them(bench: Bench) -> None:
    assert not bench.cuda.has_graphs
    with pytest.raises(CudaError, match="set EDGEKIT_CUDA=cudart"):
        bench.cuda.graph_begin(bench.cuda.stream_create())


def test_a_stream_of_others_is_refused_with_the_way_that_takes_it(bench: Bench) -> None:
    with pytest.raises(CudaError, match="0x1234, which it has not made; EDGEKIT_CUDA=cudart"):
        bench.cuda.stream_synchronize(0x1234)


def test_a_failure_keeps_pycudas_words(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CUDA_FAIL", "cudaMalloc:2")

    with pytest.raises(CudaError, match="PyCUDA's mem_alloc failed: cuMemAlloc failed"):
        bench.cuda.malloc(64)


def test_a_thread_ends_with_no_context_on_its_stack(bench: Bench) -> None:
    """PyCUDA calls ``abort`` otherwise (context_stack's destructor)."""
    stacks: list[list[object]] = []

    def work() -> None:
        bench.cuda.use(0)
        bench.cuda.use(0)
        stacks.append(bench.driver.stack())
        assert len(stacks[0]) == 1

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert stacks == [[]]
    assert len(bench.driver.stack()) == 1  # this thread's own is as it was


def test_the_main_thread_ends_with_no_context_on_its_stack(bench: Bench) -> None:
    bench.cuda.malloc(64)
    bench.cuda._close()  # type: ignore[attr-defined]

    assert bench.driver.stack() == []


# Names of PyCUDA 2026.1's driver module that the provider calls, from its source
# (src/wrapper/wrap_cudadrv.cpp and pycuda/driver.py).
PYCUDA_DRIVER = {
    *("init", "Error", "get_version", "get_driver_version", "Device", "device_attribute"),
    *("mem_get_info", "mem_alloc", "host_alloc_flags", "pagelocked_empty", "memcpy_dtod_async"),
    *("Stream", "Event", "Context", "memcpy_htod_async", "memcpy_dtoh_async"),
}


def test_pycuda_is_called_by_names_that_it_has() -> None:
    source = (Path(inspect.getfile(Cuda)).parent / "pycuda.py").read_text()

    assert set(re.findall(r"driver\.(\w+)", source)) <= PYCUDA_DRIVER
