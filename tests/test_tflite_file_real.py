"""The reader on published models, against what the runtime says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.runtimes.tflite_file import read_tflite

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MODELS = sorted(DATA.glob("*/*.tflite"))


@pytest.mark.skipif(not MODELS, reason="no published .tflite models in ../shared/data")
@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_published_model_reads_as_the_runtime_reads_it(path: Path) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert, the oracle")
    interpreter = litert.Interpreter(
        str(path),
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    operators = interpreter._get_ops_details()

    file = read_tflite(path)

    main = file.subgraphs[0]
    assert [op.name for op in main.operators] == [op["op_name"] for op in operators]
    assert [op.outputs for op in main.operators] == [tuple(op["outputs"]) for op in operators]
    assert list(main.inputs) == [item["index"] for item in interpreter.get_input_details()]
    assert file.weight_nbytes < file.nbytes == path.stat().st_size
    for tensor, detail in zip(main.tensors, interpreter.get_tensor_details(), strict=False):
        scales = detail["quantization_parameters"]["scales"]
        assert (tensor.name, tensor.shape) == (detail["name"], tuple(detail["shape"]))
        assert (tensor.quantization.scale if tensor.quantization else ()) == tuple(scales)
