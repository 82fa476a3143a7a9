"""What only LiteRT has: state between calls, two packages, tensors of unknown size."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import SHAPE, BytesFiles, require, tflite_content

from edgekit.artifact import Artifact
from edgekit.runtimes import RUNTIMES
from edgekit.runtimes.plain import open_plain

PLAIN = Artifact("tflite", "fp32", {"model": "model.tflite"}, (), ())
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
DETECTOR = DATA / "model-face-ultraface-rfb320" / "version-RFB-320_without_postprocessing.tflite"


def stateful_content() -> dict[str, bytes]:
    """Return a one-unit RNN, output = input + state, whose output becomes its state."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str, shape: list[int], buffer: int = 0) -> Any:
        item = schema.TensorT()
        item.name, item.shape, item.buffer = name, shape, buffer
        item.type = schema.TensorType.FLOAT32
        item.isVariable = name == "state"
        return item

    def buffer(*values: float) -> Any:
        item = schema.BufferT()
        item.data = list(np.asarray(values, np.float32).tobytes())
        return item

    rnn = schema.OperatorT()
    rnn.inputs, rnn.outputs = [0, 1, 2, 3, 4], [5]
    rnn.builtinOptions = schema.RNNOptionsT()
    rnn.builtinOptionsType = schema.BuiltinOptions.RNNOptions
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RNN
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("x", [1, 1]),
        tensor("weight", [1, 1], 1),
        tensor("recurrent", [1, 1], 2),
        tensor("bias", [1], 3),
        tensor("state", [1, 1]),
        tensor("y", [1, 1]),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [5], [rnn]
    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    model.buffers = [schema.BufferT(), buffer(1), buffer(1), buffer(0)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return {"model": bytes(builder.Output())}


def test_state_does_not_leak_from_one_call_into_the_next() -> None:
    x = {"x": np.ones((1, 1), np.float32)}
    with require("litert").open(PLAIN, BytesFiles(stateful_content())) as session:
        outputs = [float(session.run(x)["y"][0, 0]) for _ in range(3)]

    assert outputs == [1, 1, 1]


def test_engine_itself_does_keep_that_state() -> None:
    """Were it not so, the test above would show nothing."""
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = interpreter_module.Interpreter(model_content=stateful_content()["model"])
    interpreter.allocate_tensors()
    outputs = []
    for _ in range(3):
        interpreter.set_tensor(0, np.ones((1, 1), np.float32))
        interpreter.invoke()
        outputs.append(float(interpreter.get_tensor(5)[0, 0]))

    assert outputs == [1, 2, 3]


def test_older_package_is_used_where_only_that_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = pytest.importorskip("ai_edge_litert.interpreter")
    older = types.ModuleType("tflite_runtime.interpreter")
    older.Interpreter, older.OpResolverType = real.Interpreter, real.OpResolverType  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", types.ModuleType("tflite_runtime"))
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", older)
    monkeypatch.setattr(importlib.metadata, "version", {"tflite-runtime": "2.14.0"}.__getitem__)
    name, _, attribute = RUNTIMES["litert"].path.partition(":")
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    backend = getattr(module, attribute)
    with backend.open(PLAIN, BytesFiles(tflite_content(SHAPE))) as session:
        outputs = session.run({name: np.ones(SHAPE, np.float32) for name in ("a", "b")})

    assert backend.version == "2.14.0"
    assert outputs["sum"].mean() == 2


@pytest.mark.skipif(not DETECTOR.exists(), reason="the real face detector is not here")
def test_outputs_of_unknown_size_come_in_the_size_that_they_have() -> None:
    with require("litert").open(*open_plain(DETECTOR)) as session:
        outputs = session.run({"input_1": np.zeros((1, 240, 320, 3), np.float32)})

    # 4420 anchors: 40*30*3 + 20*15*2 + 10*8*2 + 5*4*3.
    assert [array.shape for array in outputs.values()] == [(1, 4420, 4), (1, 4420, 2)]
