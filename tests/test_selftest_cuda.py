"""The checks of CUDA, on a simulated one: that they run and free, not what a GPU gives."""

from __future__ import annotations

import pytest
from cuda_simulation import SimulatedCuda, simulated_cuda

from edgekit.runtimes.selftest import FAILED, PASSED, SKIPPED
from edgekit.runtimes.selftest import cuda as cuda_checks

NOTHING = dict.fromkeys(("memory", "host", "stream", "event", "graph", "exec"), 0)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_checks, "BYTES", 4096)
    monkeypatch.setattr(cuda_checks, "is_installed", lambda name: False)


def test_every_check_runs_and_frees_what_it_takes() -> None:
    cuda = simulated_cuda()
    found = cuda_checks.check_provider("cudart", cuda)

    assert {check.name: check.status for check in found} == {
        "the device, cudart": PASSED,
        "copies and events, cudart": PASSED,
        "mapped memory, cudart": PASSED,
        "graph, cudart": PASSED,
        "errors, cudart": PASSED,
        "a tensor to torch, cudart": SKIPPED,
        "a tensor from torch, cudart": SKIPPED,
    }, found
    assert cuda.alive() == NOTHING


def test_a_check_that_fails_frees_too_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CUDA_FAIL", "cudaGraphLaunch:700")
    cuda = simulated_cuda()
    found = cuda_checks.check_provider("cudart", cuda)

    (failed,) = (check for check in found if check.status == FAILED)
    assert failed.name == "graph, cudart"
    assert failed.detail.startswith("CudaError: cudaGraphLaunch failed")
    assert cuda.alive() == NOTHING


def test_bytes_that_come_back_otherwise_fail_the_check() -> None:
    class Wrong(SimulatedCuda):
        def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
            super().copy(target, source, nbytes - 1, stream)

    cuda = simulated_cuda()
    cuda.__class__ = Wrong
    found = {check.name: check for check in cuda_checks.check_provider("cudart", cuda)}

    assert found["copies and events, cudart"].status == FAILED
    assert "not what was sent" in found["copies and events, cudart"].detail
    assert found["mapped memory, cudart"].status == FAILED


def test_the_first_failure_is_told_where_nothing_can_be_freed_either() -> None:
    cuda = simulated_cuda()

    def refuse(address: int) -> None:
        raise cuda_checks.CudaError("cudaFreeHost failed: cudaErrorIllegalAddress (700)")

    cuda.host_free = refuse  # type: ignore[method-assign]
    cuda.stream_synchronize = refuse  # type: ignore[method-assign]
    cuda.graph_launch = lambda graph, stream: _fail()  # type: ignore[method-assign]
    found = {check.name: check for check in cuda_checks.check_provider("cudart", cuda)}

    assert found["graph, cudart"].detail == "CudaError: the kernel failed"


def _fail() -> None:
    raise cuda_checks.CudaError("the kernel failed")


@pytest.mark.parametrize("count", [0, 1])
def test_a_provider_that_is_here_is_checked_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    cuda = simulated_cuda()
    cuda.be(devices=count)
    monkeypatch.setattr(cuda_checks, "open_cuda", lambda name: cuda)

    found = [check for check in cuda_checks.check_cuda() if check.name.endswith("cudart")]

    assert found[0].status == (PASSED if count else SKIPPED)
    assert len(found) == (8 if count else 1)
