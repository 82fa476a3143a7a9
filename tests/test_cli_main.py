"""``edgekit``: starts light, says one line per error, and keeps its exit statuses."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

import edgekit.cli
from edgekit import __version__
from edgekit.cli.command import Command
from edgekit.cli.main import BROKEN_PIPE, INTERNAL_ERROR, INTERRUPTED, main
from edgekit.registry import Entry

HEAVY_MODULES = (
    "numpy", "onnx", "onnxruntime", "openvino", "ai_edge_litert", "tensorrt", "cv2", "rich",
    "flatbuffers", "google.protobuf", "ml_dtypes", "logging", "multiprocessing", "asyncio",
)  # fmt: skip
MAX_EXTRA_CPU_S = 0.060  # over a bare interpreter


@dataclass(frozen=True)
class Case:
    id: str
    words: tuple[str, ...]
    status: int
    says: tuple[str, ...]


MISTAKES = (
    Case("command", ("convrt",), 2, ("EK100", "did you mean 'convert'?")),
    Case("no_command", (), 2, ()),
    Case("main_option", ("--hepl",), 2, ("EK100", "no option --hepl")),
    Case("option", ("doctor", "--jsom"), 2, ("EK100", "did you mean --json?")),
    Case("extra_word", ("doctor", "now"), 2, ("EK100", "unexpected argument 'now'")),
    Case(
        "target",
        ("convert", __file__, "--target", "tflit", "-o", "x"),
        2,
        ("EK100", "did you mean 'tflite'?"),
    ),
    Case(
        "precision",
        ("convert", __file__, "--target", "onnx:fp16", "-o", "x"),
        2,
        ("EK100", "target 'onnx' cannot be 'fp16'"),
    ),
    Case("no_file", ("inspect", "no/such/model.onnx"), 2, ("EK100", "does not exist")),
    Case(
        "near_file",
        ("inspect", __file__.replace("test_cli_main", "test_cli_mian")),
        2,
        ("EK100", "did you mean", "test_cli_main.py?"),
    ),
    Case(
        "shape",
        ("convert", __file__, "--target", "onnx", "--shape", "input:1x-3", "-o", "x"),
        2,
        ("EK100", "input:1x3x224x224"),
    ),
)


def run_edgekit(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgekit", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def use_command(
    monkeypatch: pytest.MonkeyPatch, run: Callable[..., int], *, name: str = "doctor"
) -> None:
    command = Command(configure=lambda parser: None, run=run)
    monkeypatch.setattr(Entry, "load", lambda self: command)
    monkeypatch.setitem(edgekit.cli.COMMANDS, name, Entry("unused:unused"))


@pytest.mark.parametrize("words", [("--help",), ("--version",)], ids=lambda words: words[0])
def test_help_and_version_load_no_heavy_module(words: tuple[str, ...]) -> None:
    script = (
        "import sys; from edgekit.cli.main import main; status = main(sys.argv[1:]);"
        f"print([name for name in {HEAVY_MODULES!r} if name in sys.modules]); sys.exit(status)"
    )

    result = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=True
    )

    assert result.stdout.splitlines()[-1] == "[]"


def test_help_adds_little_to_the_interpreter_s_own_start() -> None:
    bare_s = min(cpu_seconds("-c", "pass") for _ in range(5))
    help_s = min(cpu_seconds("-m", "edgekit", "--help") for _ in range(5))

    assert help_s - bare_s <= MAX_EXTRA_CPU_S


def cpu_seconds(*words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def test_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--version"])

    assert (status, capsys.readouterr().out) == (0, f"edgekit {__version__}\n")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])

    text = capsys.readouterr().out
    assert [name for name in edgekit.cli.COMMANDS if f"  {name}" not in text] == []


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case.id)
def test_a_mistake_gets_one_line_with_what_to_do(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(list(case.words))

    captured = capsys.readouterr()
    assert status == case.status
    assert [word for word in case.says if word not in captured.err] == []
    assert len(captured.err.splitlines()) == min(len(case.says), 1)


def test_an_error_is_json_too_where_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", "--json", "no/such/model.onnx"])

    assert json.loads(capsys.readouterr().out)["error"]["code"] == "EK100"


def test_an_expected_error_shows_no_traceback_unless_asked() -> None:
    plain = run_edgekit("inspect", "no/such/model.onnx", EDGEKIT_DEBUG="")
    debug = run_edgekit("inspect", "no/such/model.onnx", EDGEKIT_DEBUG="1")

    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr


def test_a_fault_of_ours_says_so_and_asks_for_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise ZeroDivisionError("nobody thought of this")

    use_command(monkeypatch, fail)

    status = main(["doctor"])

    text = capsys.readouterr().err
    assert status == INTERNAL_ERROR
    assert "ZeroDivisionError: nobody thought of this" in text
    assert "please report it" in text
    assert "Traceback" not in text


def test_ctrl_c_leaves_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    use_command(monkeypatch, interrupt)

    status = main(["doctor"])

    assert (status, "Traceback" in capsys.readouterr().err) == (INTERRUPTED, False)


def test_ctrl_c_is_told_though_a_library_made_another_error_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def swallow(*_: object) -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("import numpy failed") from None
        return 0

    use_command(monkeypatch, swallow)
    before = signal.getsignal(signal.SIGINT)

    status = main(["doctor"])

    assert (status, capsys.readouterr().err) == (
        INTERRUPTED,
        "edgekit: stopped; nothing half-written is left\n",
    )
    assert signal.getsignal(signal.SIGINT) is before


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate()

    assert (process.returncode, errors) == (BROKEN_PIPE, b"")
