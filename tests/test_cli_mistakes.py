"""What a user mistypes, and what the system refuses, ends in one line with a code."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import edgekit.cli
from edgekit.cli.command import Command
from edgekit.cli.main import INTERNAL_ERROR, main
from edgekit.cli.options import existing_path, thread_count
from edgekit.cli.outputs import output_file
from edgekit.errors import UsageError
from edgekit.registry import Entry

VALUES = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
TINY = helper.make_model(
    helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "tiny", VALUES[:1], VALUES[1:]),
    opset_imports=[helper.make_opsetid("", 17)],
    ir_version=8,
)


def use_doctor(monkeypatch: pytest.MonkeyPatch, run: Callable[..., int]) -> None:
    command = Command(configure=lambda parser: None, run=run)
    monkeypatch.setattr(Entry, "load", lambda self: command)
    monkeypatch.setitem(edgekit.cli.COMMANDS, "doctor", Entry("unused:unused"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENAMETOOLONG])
def test_what_the_system_refuses_is_one_line_with_the_path(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number), "out/model.edgekit")

    use_doctor(monkeypatch, refuse)

    status = main(["doctor"])

    (line,) = capsys.readouterr().err.splitlines()
    assert status == UsageError.exit_status
    assert line.startswith("edgekit: error EK100: the system refuses out/model.edgekit: ")
    assert os.strerror(number) in line


def test_another_error_of_the_system_is_a_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    use_doctor(monkeypatch, fail)

    assert main(["doctor"]) == INTERNAL_ERROR
    assert "please report it" in capsys.readouterr().err


@dataclass(frozen=True)
class Output:
    """A name that no file can be written to, and what is said."""

    name: str
    says: str


OUTPUTS = (
    Output("", "the empty path is a folder"),
    Output(".", "is a folder"),
    Output("/", "is a folder"),
    Output("no/such/file", "no/such does not exist; create it first"),
    Output(f"{__file__}/file", "does not exist"),
)


@pytest.mark.parametrize("case", OUTPUTS, ids=lambda case: case.name)
def test_an_output_that_cannot_be_a_file_is_refused_before_the_work(case: Output) -> None:
    with pytest.raises(UsageError, match=case.says):
        output_file(case.name)


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(UsageError, match="is a device, which would be replaced"):
        output_file(str(pipe))


@pytest.mark.parametrize("command", [["report"], ["inspect", "--sensitivity"]])
def test_no_drawing_replaces_a_device(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe, bundle = tmp_path / "pipe", tmp_path / "b.edgekit"
    os.mkfifo(pipe)
    bundle.touch()
    option = "-o" if command == ["report"] else "--plot"

    status = main([*command, str(bundle), option, str(pipe)])

    assert status == UsageError.exit_status
    assert "is a device, which would be replaced" in capsys.readouterr().err
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    "words",
    [
        ("convert", "model.onnx", "-t", "onnx", "-o", "locked/out"),
        ("quantize", "model.onnx", "-t", "onnx:w8", "-o", "locked/out"),
        ("calibrate", "model.onnx", "-c", "data", "-o", "locked/out"),
        ("run", "model.onnx", "-i", "x.npy", "-o", "locked/out"),
        ("lint", "model.onnx", "--repair", "locked/out.onnx"),
        ("selftest", "--device", "--report", "locked/out"),
    ],
    ids=lambda words: words[0],
)
def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("locked").mkdir()
    onnx.save(TINY, "model.onnx")
    # Who runs the tests may write anywhere, as root does.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")

    status = main(list(words))

    assert status == UsageError.exit_status
    assert "the folder locked cannot be written to" in capsys.readouterr().err
    assert list(Path("locked").iterdir()) == []


def test_a_file_that_is_there_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "old.npz"
    path.write_bytes(b"")

    assert output_file(str(path)) == path


def test_an_empty_path_is_not_the_current_folder() -> None:
    with pytest.raises(UsageError, match="the path is empty"):
        existing_path("")


@pytest.mark.parametrize("text", ["0", "-1", "two", "99999999999"])
def test_threads_are_a_number_that_engines_take(text: str) -> None:
    with pytest.raises(UsageError, match=text):
        thread_count(text)


def test_the_ranges_do_not_replace_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"a model")

    status = main(["calibrate", str(model), "-c", str(tmp_path), "-o", str(model)])

    assert status == UsageError.exit_status
    assert "is the model itself" in capsys.readouterr().err
    assert model.read_bytes() == b"a model"
