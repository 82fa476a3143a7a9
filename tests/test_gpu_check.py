"""The checks for a machine with a GPU: what the command says, and how it reports."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks import gpu_check
from edgekit.runtimes.selftest import FAILED, SKIPPED, Check


def test_a_failure_is_in_the_report_with_its_reason() -> None:
    checks = (
        Check("cuda", "graph, cudart", FAILED, "CudaError: cudaGraphLaunch failed |\n(700)", 0.1),
        Check("cuda", "open, pycuda", SKIPPED, "pycuda is not installed", 0.0),
    )
    text = gpu_check.report(checks)

    assert "| cuda | graph, cudart | FAILED | CudaError: cudaGraphLaunch failed \\| (700) |" in text
    assert "| cuda | open, pycuda | not run | pycuda is not installed |" in text


def test_without_a_gpu_nothing_is_run_and_the_status_says_so() -> None:
    command = [sys.executable, gpu_check.__file__]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)

    assert done.returncode == 3
    assert done.stdout.startswith("there is no NVIDIA GPU")
    assert done.stderr == ""
