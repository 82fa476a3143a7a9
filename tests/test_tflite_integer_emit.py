"""An emitted int8 file is served like the float one, whatever its borders are stored as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
from ai_edge_litert.interpreter import Interpreter
from fake_quantized import Array, minmax_ranges, open_plain
from networks import NETWORKS, sample_inputs

from edgekit.converters.emitters.tflite import MODEL_FILE, emit
from edgekit.converters.onnx_model import graph_from_bytes
from edgekit.converters.passes import simplify
from edgekit.converters.quantize import pick_scheme, quantize
from edgekit.metrics import sqnr_db
from edgekit.target import TARGETS
from edgekit.tensor import DType, TensorSpec

# Random weights, three samples: int8 keeps about 29 dB of this network (measured).
LEAST_DB = 25.0


@pytest.mark.parametrize("io_dtype", [DType.FLOAT32, DType.INT8, DType.UINT8])
def test_file_keeps_the_network_and_says_its_types(io_dtype: DType, tmp_path: Path) -> None:
    model = NETWORKS["super_resolution"].build()
    graph = simplify(graph_from_bytes(model.SerializeToString()))
    feeds = [sample_inputs(model, seed=seed) for seed in range(3)]
    quantized = quantize(graph, minmax_ranges(graph, feeds), pick_scheme("tflite"))

    artifact = emit(
        quantized, tmp_path, target=TARGETS["tflite"].with_precision("int8"), io_dtype=io_dtype
    )

    (source,), (result,) = artifact.inputs, artifact.outputs
    assert {source.dtype, result.dtype} == {io_dtype}
    (wanted,) = open_plain(graph).run(None, feeds[0])
    got = _run(tmp_path / MODEL_FILE, source, result, feeds[0][source.name])
    assert sqnr_db(got, wanted) > LEAST_DB


def _run(path: Path, source: TensorSpec, result: TensorSpec, value: Array) -> Array:
    """Run the file on real values, by what the artifact says of its tensors."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    assert source.permutation is not None and result.permutation is not None
    stored = np.ascontiguousarray(value.transpose(source.permutation))
    if source.quantization is not None:
        code = source.quantization
        limits = np.iinfo(source.dtype.to_numpy())
        steps = np.rint(stored / code.scale[0]) + code.zero_point[0]
        stored = np.clip(steps, limits.min, limits.max).astype(source.dtype.to_numpy())
    got = interpreter.get_signature_runner()(**{source.name: stored})[result.name]
    if result.quantization is not None:
        code = result.quantization
        got = (got.astype(np.float32) - code.zero_point[0]) * np.float32(code.scale[0])
    return np.asarray(got.transpose(np.argsort(result.permutation)))
