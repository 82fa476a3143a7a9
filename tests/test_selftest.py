"""``edgekit selftest``: all of it on the simulation, and an honest no without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from simulated_session import be_a_gpu_machine

from edgekit.cli.main import main
from edgekit.cli.selftest import to_markdown
from edgekit.errors import MissingDependencyError
from edgekit.runtimes.cuda import open_cuda
from edgekit.runtimes.jetson.conditions import Conditions
from edgekit.runtimes.selftest import FAILED, PASSED, SKIPPED, Check, Skip, run_checks
from edgekit.runtimes.selftest.engines import check_engines
from edgekit.runtimes.tensorrt.machine import Machine


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a simulated GPU."""
    be_a_gpu_machine(monkeypatch)


@pytest.mark.usefixtures("device")
def test_every_check_of_the_engines_passes_on_the_simulation(tmp_path: Path) -> None:
    checks = check_engines(tmp_path)

    assert [(check.name, check.status) for check in checks if check.status != PASSED] == []
    details = {check.name: check.detail for check in checks}
    assert "Simulated GPU, not another GPU" in details["another device's engine"]
    assert "first answer after" in details["serve now, swap later"]


@pytest.mark.usefixtures("device")
def test_the_report_says_where_and_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.md"

    status = main(["selftest", "--device", "--report", str(report), "--json"])

    document = json.loads(capsys.readouterr().out)
    text = report.read_text()
    failed = [check for check in document["checks"] if check["status"] == FAILED]
    # The simulated CUDA allocates an exabyte's worth of nothing as malloc does; all else holds.
    assert [check["name"] for check in failed] == []
    assert status == 0
    assert text.startswith("# EdgeKit selftest")
    assert "build, prove and time" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## CUDA",
        "## TensorRT",
    ]


def test_the_report_begins_with_what_failed() -> None:
    checks = [
        Check("cuda", "graph", PASSED, "fine", 0.1),
        Check("tensorrt", "host arrays", FAILED, "scores: a|b differ", 0.2),
    ]

    text = to_markdown(checks, Conditions())

    assert text.index("## Failed") < text.index("## CUDA") < text.index("## TensorRT")
    assert "| tensorrt | host arrays | scores: a\\|b differ |" in text
    assert "1 passed, 1 failed, 0 skipped" in text


def test_without_a_gpu_nothing_is_called_shown(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "selftest", "--device"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    if open_cuda().device_count():
        pytest.skip("there is a GPU here")

    assert done.returncode == 6
    assert "nothing was shown" in done.stderr
    assert "Traceback" not in done.stderr
    assert "0 passed, 0 failed" in (tmp_path / "edgekit-selftest.md").read_text()


def test_without_a_word_of_what_to_test_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest"]) == 2
    assert "edgekit selftest --device" in capsys.readouterr().err


def test_what_is_not_installed_is_skipped_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(edition: str | None = None, *, store: object = None) -> Machine:
        raise MissingDependencyError("tensorrt is not installed")

    monkeypatch.setattr(Machine, "here", nowhere)
    checks = check_engines(tmp_path)

    assert {check.status for check in checks} == {SKIPPED}
    assert checks[0].detail == "tensorrt is not installed"


def test_a_failed_check_does_not_stop_the_others() -> None:
    def fail() -> str:
        raise AssertionError("other values")

    def skip() -> str:
        raise Skip("no torch")

    checks = run_checks("area", {"one": fail, "two": skip, "three": lambda: "fine"})

    assert [check.status for check in checks] == [FAILED, SKIPPED, PASSED]
    assert checks[0].detail == "AssertionError: other values"
