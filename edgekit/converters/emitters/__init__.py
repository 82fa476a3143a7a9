"""``Graph`` to the files that one runtime loads.

To add an emitter: one file here with ``emit(graph, folder, *, target, preprocess) ->
Artifact``, one line in ``EMITTERS`` under its format, a target of that format in
``edgekit/target.py``, one extra in pyproject.toml. It writes into ``folder`` (empty) and
names its files relative to it; ``preprocess`` is given only when it must be fused.
"""

from __future__ import annotations

from edgekit.registry import Entry

EMITTERS: dict[str, Entry] = {
    "onnx": Entry("edgekit.converters.emitters.onnx:emit", ("onnx",), "convert", "ONNX"),
    "openvino": Entry(
        "edgekit.converters.emitters.openvino:emit", ("onnx", "openvino"), "openvino", "OpenVINO IR"
    ),
    "tflite": Entry(
        "edgekit.converters.emitters.tflite:emit", ("flatbuffers",), "convert", "LiteRT flatbuffer"
    ),
    "tensorrt": Entry(
        "edgekit.converters.emitters.tensorrt:emit", ("onnx",), "convert", "ONNX for TensorRT"
    ),
    "tensorrt-rtx": Entry(
        "edgekit.converters.emitters.tensorrt_rtx:emit",
        ("onnx", "tensorrt_rtx"),
        "tensorrt",
        "engine for desktop RTX GPUs",
    ),
}
