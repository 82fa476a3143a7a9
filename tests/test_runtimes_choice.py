"""Which runtime runs what, and what is said when none can."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_models import onnx_content, openvino_content, tflite_content

from edgekit import runtimes
from edgekit.artifact import Artifact
from edgekit.errors import (
    MissingDependencyError,
    ModelFormatError,
    RuntimeUnavailableError,
    UsageError,
)
from edgekit.registry import Entry
from edgekit.runtimes import RUNTIME_FORMATS, RUNTIMES
from edgekit.runtimes.choice import choose, cpu_family
from edgekit.runtimes.plain import open_plain
from edgekit.runtimes.select import load

ALL = tuple(
    Artifact(kind, precision, {}, (), ())
    for kind in ("onnx", "tflite", "tensorrt", "openvino")
    for precision in ("fp32", "fp16")
)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Entry]:
    """The table as on a machine that has every engine; a test may take some away."""
    table = {
        name: Entry(entry.path, (), entry.extra, entry.summary) for name, entry in RUNTIMES.items()
    }
    monkeypatch.setattr("edgekit.runtimes.choice.RUNTIMES", table)
    monkeypatch.setattr("edgekit.runtimes.usable.RUNTIMES", table)
    monkeypatch.setattr("edgekit.runtimes.usable._why_no_gpu", lambda name: "no GPU in this test")
    return table


def remove(table: dict[str, Entry], name: str) -> None:
    table[name] = Entry(table[name].path, ("not_installed_anywhere",), table[name].extra)


@dataclass(frozen=True)
class Case:
    machine: str
    first: str


@pytest.mark.parametrize(
    "case",
    [
        Case("x86_64", "openvino with openvino-fp32"),
        Case("AMD64", "openvino with openvino-fp32"),
        Case("aarch64", "litert with tflite-fp32"),
        Case("armv7l", "litert with tflite-fp32"),
        Case("riscv64", "onnxruntime with onnx-fp32"),
    ],
    ids=lambda case: case.machine,
)
@pytest.mark.usefixtures("installed")
def test_auto_takes_what_suits_the_cpu(case: Case) -> None:
    choice = choose(ALL, machine=case.machine)

    assert str(choice.candidates[0]) == case.first


@pytest.mark.usefixtures("installed")
def test_auto_never_takes_a_simulation() -> None:
    choice = choose(ALL, machine="x86_64")

    assert all(candidate.artifact.format != "tensorrt" for candidate in choice.candidates)


def test_reason_says_what_was_passed_over_and_why(installed: dict[str, Entry]) -> None:
    remove(installed, "openvino")

    choice = choose(ALL, machine="x86_64")

    assert choice.candidates[0].runtime == "onnxruntime"
    assert choice.candidates[0].why == (
        "onnxruntime is installed and suits an x86 CPU best; not openvino: not installed; "
        "run: pip install 'edgekit[openvino]'"
    )


def test_error_lists_every_runtime_and_why_not(installed: dict[str, Entry]) -> None:
    remove(installed, "litert")

    error = choose(ALL[2:4], machine="x86_64").to_error(["first: it broke"])

    assert str(error).splitlines() == [
        "no runtime on this machine can run it:",
        "  first: it broke",
        "  openvino: runs openvino and onnx; there is tflite-fp32, tflite-fp16",
        "  onnxruntime: runs onnx; there is tflite-fp32, tflite-fp16",
        "  litert: not installed; run: pip install 'edgekit[tflite]'",
    ]


@pytest.mark.usefixtures("installed")
def test_named_artifact_is_the_only_one_considered() -> None:
    choice = choose(ALL, artifact="openvino-fp16", machine="x86_64")

    assert [str(candidate) for candidate in choice.candidates] == ["openvino with openvino-fp16"]


@pytest.mark.usefixtures("installed")
def test_tensorrt_artifact_is_simulated_only_when_both_are_named() -> None:
    (candidate,) = choose(ALL, device="onnxruntime", artifact="tensorrt-fp16").candidates

    assert candidate.artifact.name == "tensorrt-fp16"
    assert "a simulation of tensorrt on the CPU" in candidate.why
    assert not choose(ALL[4:6], device="onnxruntime").candidates


def test_mistyped_device_gets_the_closest_name() -> None:
    with pytest.raises(UsageError, match="no device named 'openvin'; did you mean 'openvino'"):
        choose(ALL, device="openvin")


def test_mistyped_artifact_gets_the_closest_name() -> None:
    with pytest.raises(UsageError, match="no artifact named 'openvino-32'; did you mean"):
        choose(ALL, artifact="openvino-32")


def test_named_device_that_is_not_installed_is_an_error(installed: dict[str, Entry]) -> None:
    remove(installed, "litert")

    with pytest.raises(MissingDependencyError, match=r"pip install 'edgekit\[tflite\]'"):
        choose(ALL, device="litert")


@pytest.mark.parametrize(
    ("machine", "family"), [("x86_64", "x86"), ("arm64", "arm"), ("ppc64le", "other")]
)
def test_cpu_family_follows_the_machines_name(machine: str, family: str) -> None:
    assert cpu_family(machine) == family


def test_every_runtime_has_its_formats_and_a_place_in_every_preference() -> None:
    from edgekit.runtimes.choice import _PREFERENCE

    assert set(RUNTIME_FORMATS) == set(RUNTIMES)
    assert all(set(order) == set(RUNTIMES) for order in _PREFERENCE.values())
    assert set(runtimes.SIMULATED_FORMATS) <= set(RUNTIMES)


CONTENT = {".onnx": onnx_content, ".xml": openvino_content, ".tflite": tflite_content}


def write_plain(folder: Path, suffix: str) -> Path:
    content = CONTENT[suffix]((1, 3, 4, 5))
    path = folder / f"tiny{suffix}"
    path.write_bytes(content["model"])
    if "weights" in content:
        path.with_suffix(".bin").write_bytes(content["weights"])
    return path


@pytest.mark.parametrize("suffix", CONTENT)
def test_plain_model_file_is_loaded_with_a_reason(suffix: str, tmp_path: Path) -> None:
    with load(write_plain(tmp_path, suffix)) as session:
        assert {spec.name for spec in session.inputs} == {"a", "b"}
        assert "suits" in session.reason


@pytest.mark.parametrize("name", ["model.pt", "model"])
def test_file_of_another_kind_is_not_a_plain_model(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"one ends in: \.onnx, \.tflite, \.xml"):
        open_plain(tmp_path / name)


def test_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.onnx does not exist"):
        load(tmp_path / "absent.onnx")


def test_ir_without_its_weights_names_them(tmp_path: Path) -> None:
    path = write_plain(tmp_path, ".xml")
    path.with_suffix(".bin").unlink()

    with pytest.raises(ModelFormatError, match=r"tiny\.xml needs tiny\.bin beside it"):
        load(path)


def test_auto_lists_how_each_engine_failed_on_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")

    with pytest.raises(RuntimeUnavailableError) as caught:
        load(path)

    assert "openvino cannot load onnx-fp32" in str(caught.value)
    assert "onnxruntime cannot load onnx-fp32" in str(caught.value)
    assert "litert: runs tflite; there is onnx-fp32" in str(caught.value)


def test_engine_that_cannot_be_imported_gives_way_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Entry):
        def load(self) -> object:
            raise ImportError("version `GLIBC_2.34' not found")

    monkeypatch.setitem(RUNTIMES, "openvino", Broken(RUNTIMES["openvino"].path))

    with load(write_plain(tmp_path, ".onnx")) as session:
        assert session.runtime in ("onnxruntime", "openvino")
        assert session.runtime == "onnxruntime"
        assert "GLIBC_2.34' not found" in session.reason
