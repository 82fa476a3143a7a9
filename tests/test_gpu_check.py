"""The checks for a machine with a GPU, on a simulated CUDA: that they run, not what they find."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from cuda_simulation import simulated_cuda

from benchmarks import gpu_check, gpu_cuda
from benchmarks.gpu_results import NotRunError, report


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_cuda, "BYTES", 4096)


def _no_torch() -> object:
    raise NotRunError("torch is not used here")


def test_every_check_runs_and_frees_what_it_takes(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_cuda, "torch_on_gpu", _no_torch)
    cuda = simulated_cuda()
    before = cuda.alive()
    found = gpu_cuda.check_provider(cuda, section="CUDA")

    assert {it.name: it.outcome for it in found} == {
        "device": "ok",
        "copies": "ok",
        "mapped": "ok",
        "graphs": "ok",
        "failures": "ok",
        "to torch": "not run",
        "from torch": "not run",
    }, found
    assert cuda.alive() == before


def test_a_check_that_fails_is_reported_and_the_others_run(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_cuda, "torch_on_gpu", _no_torch)
    monkeypatch.setenv("FAKE_CUDA_FAIL", "cudaGraphLaunch:700")
    found = gpu_cuda.check_provider(simulated_cuda(), section="CUDA")
    text = report(found)

    assert [it.name for it in found if it.outcome == "FAILED"] == ["graphs"]
    assert "| CUDA | graphs | FAILED | CudaError: cudaGraphLaunch failed" in text


def test_without_a_gpu_nothing_is_run_and_the_status_says_so() -> None:
    command = [sys.executable, gpu_check.__file__]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)

    assert done.returncode == 3
    assert done.stdout.startswith("there is no NVIDIA GPU")
    assert done.stderr == ""
