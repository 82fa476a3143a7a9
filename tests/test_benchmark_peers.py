"""How the benchmarks call tools that live in environments of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs pip install 'edgekit[convert]'")
ort = pytest.importorskip("onnxruntime", reason="needs pip install 'edgekit[onnxruntime]'")
litert = pytest.importorskip(
    "ai_edge_litert.interpreter", reason="needs pip install 'edgekit[litert]'"
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from networks import REAL_FOLDER  # noqa: E402

from benchmarks.peer import KERAS, find_python, keras_to_onnx  # noqa: E402

RESNET8 = REAL_FOLDER / "model-cls-mlperf-resnet8"


def test_a_missing_python_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(KERAS, raising=False)

    with pytest.raises(RuntimeError, match=KERAS):
        keras_to_onnx(tmp_path / "a.h5", tmp_path / "a.onnx")


@pytest.mark.skipif(os.name == "nt", reason="a script stands in for Python")
def test_a_failure_is_told_by_its_last_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'no layer named Foo' >&2\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setenv(KERAS, str(python))

    with pytest.raises(RuntimeError, match=r"a\.h5: no layer named Foo"):
        keras_to_onnx(tmp_path / "a.h5", tmp_path / "a.onnx")


@pytest.mark.skipif(find_python(KERAS) is None, reason=f"{KERAS} names no Python with tf2onnx")
@pytest.mark.skipif(not RESNET8.is_dir(), reason=f"no {RESNET8}")
def test_a_keras_file_gives_what_its_own_float_tflite_gives(tmp_path: Path) -> None:
    keras_to_onnx(RESNET8 / "pretrainedResnet.h5", tmp_path / "resnet8.onnx")
    session = ort.InferenceSession(tmp_path / "resnet8.onnx", providers=["CPUExecutionProvider"])
    reference = litert.Interpreter(str(RESNET8 / "pretrainedResnet.tflite"))
    reference.allocate_tensors()
    frame = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.float32)

    (found,) = session.run(None, {session.get_inputs()[0].name: frame})

    reference.set_tensor(reference.get_input_details()[0]["index"], frame)
    reference.invoke()
    wanted = reference.get_tensor(reference.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
