"""The checks for a machine with a GPU, on a simulated one: that they run, not what they find."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from simulated_session import be_a_gpu_machine

from benchmarks import gpu_check, gpu_model, gpu_onnxruntime, gpu_tensorrt
from benchmarks.gpu_releases import check_releases
from edgekit.runtimes.cuda import PROVIDERS
from edgekit.runtimes.selftest import FAILED, PASSED, SKIPPED, Check
from edgekit.runtimes.selftest import cuda as cuda_checks
from edgekit.runtimes.tensorrt.api import MODULES


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network, narrow and for small pictures."""
    path = tmp_path_factory.mktemp("gpu_check") / "resnet18.edgekit"
    return gpu_model.write_bundle(path, size=64, width=8)


def test_the_network_has_the_layers_of_resnet_18() -> None:
    model = gpu_model.resnet18(size=64, width=8)
    kinds = [node.op_type for node in model.graph.node]
    shapes = {tuple(item.dims)[:2] for item in model.graph.initializer if len(item.dims) == 4}

    onnx.checker.check_model(model)
    # He et al. 2016: a stem, 8 blocks of two, and 3 projections; table 1 has the widths.
    assert kinds.count("Conv") == 1 + 8 * 2 + 3
    assert kinds.count("Add") == 8
    assert shapes >= {(8, 3), (16, 8), (32, 16), (64, 32), (64, 64)}


def test_tensorrts_section_runs_on_the_simulation(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_tensorrt, "ROUNDS", 5)
    machine = be_a_gpu_machine(monkeypatch)
    before = machine.cuda.alive()  # type: ignore[attr-defined]
    checks = gpu_tensorrt.check_tensorrt(bundle, tmp_path)
    details = {check.name: check.detail for check in checks}

    assert [(check.name, check.detail) for check in checks if check.status != PASSED] == []
    assert "tensorrt-int8" in details["build, prove and time"]
    for precision in ("fp16", "int8"):
        words = details[f"what the session adds, tensorrt-{precision}"]
        assert re.search(r"engine alone \d.*copies.*without graph.*as one graph.*adds [+-]", words)
    assert machine.cuda.alive() == before  # type: ignore[attr-defined]


def test_an_output_other_than_the_engines_own_fails_the_check(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_a_gpu_machine(monkeypatch)
    monkeypatch.setattr(gpu_tensorrt, "check_engines", lambda folder, path, tell: ())
    monkeypatch.setattr(
        gpu_tensorrt, "EngineOptions", lambda may_build: None
    )  # built where the selftest has not
    monkeypatch.setattr(
        gpu_tensorrt.Bare, "outputs", lambda self: {"scores": np.zeros((1, 1000), np.float32)}
    )
    checks = gpu_tensorrt.check_tensorrt(bundle, tmp_path)

    assert {check.status for check in checks} == {FAILED}
    assert "'scores' differs from that of the engine's own call" in checks[0].detail


def test_onnx_runtimes_section_compares_its_providers(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_onnxruntime, "PROVIDER", "CPUExecutionProvider")
    monkeypatch.setattr(gpu_onnxruntime, "ROUNDS", 5)
    checks = gpu_onnxruntime.check_onnxruntime(bundle)

    assert {check.name: check.status for check in checks} == {
        "tensorrt-fp16, model": PASSED,
        "tensorrt-fp16, typed": PASSED,
        "tensorrt-int8, model": PASSED,
        "tensorrt-int8, typed": PASSED,
    }, checks
    assert checks[0].detail.startswith("cosine 1.000000, largest difference 0 ")


@pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(), reason="here it has the provider"
)
def test_onnx_runtime_without_cuda_is_not_run_and_says_what_to_install(bundle: Path) -> None:
    checks = gpu_onnxruntime.check_onnxruntime(bundle)

    assert {check.status for check in checks} == {SKIPPED}
    assert "pip install onnxruntime-gpu" in checks[0].detail


def test_every_edition_and_provider_is_named_installed_or_not() -> None:
    checks = {check.name: check for check in check_releases()}

    assert set(checks) == {
        *(f"import {name}" for name in MODULES.values()),
        *(f"CUDA by {name}" for name in PROVIDERS),
        "packages",
        "driver",
    }
    assert [check for check in checks.values() if check.status == FAILED] == []
    assert all(check.detail for check in checks.values())


def test_without_converters_the_reason_says_how_to_come_by_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nowhere(name: str) -> bool:
        return False

    monkeypatch.setattr(gpu_model, "is_installed", nowhere)
    bench = gpu_check.Bench(tmp_path, None)
    checks = gpu_check.section("tensorrt", bench, "")

    assert [check.status for check in checks] == [SKIPPED]
    assert "--write-bundle FILE" in checks[0].detail
    monkeypatch.setattr(
        sys, "argv", ["gpu_check.py", "--write-bundle", str(tmp_path / "x.edgekit")]
    )
    assert gpu_check.main() == 1
    assert "without onnx and onnxruntime" in capsys.readouterr().err


def test_one_command_writes_one_report(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    be_a_gpu_machine(monkeypatch)
    monkeypatch.setattr(cuda_checks, "BYTES", 4096)
    monkeypatch.setattr(cuda_checks, "is_installed", lambda name: False)
    monkeypatch.setattr(gpu_tensorrt, "ROUNDS", 5)
    monkeypatch.setattr(gpu_check, "no_gpu", lambda: "")
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--bundle", str(bundle)])

    status = gpu_check.main()

    text = capsys.readouterr().out
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert status == 0, text
    assert list(dict.fromkeys(row[0] for row in rows)) == [
        f"| {name}" for name in gpu_check.SECTIONS
    ]
    assert {row[2] for row in rows} == {"ok", "not run"}


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
    for name in ("cuda", "tensorrt", "onnxruntime"):
        assert f"| {name} | all | not run | there is no NVIDIA GPU" in done.stdout
    assert done.stderr == ""
