"""Run artifacts: one Session, one file per engine.

To add a runtime: subclass ``base.EngineSession`` in a file of its own, with the engine's import at
its top; add one line to ``RUNTIMES``, one to ``RUNTIME_FORMATS``, and one extra to
pyproject.toml. The contract tests iterate over the table, so it is tested at once.
docs/runtime.md tells how sessions are used.
"""

if __name__ != "edgekit.runtimes":
    raise ImportError(
        "import it as edgekit.runtimes; the name 'runtimes' at the repository's root is a link"
    )

from edgekit.registry import Entry

RUNTIMES: dict[str, Entry] = {
    "onnxruntime": Entry(
        "edgekit.runtimes.onnxruntime:OnnxRuntimeSession",
        needs=("onnxruntime",),
        extra="onnxruntime",
        summary="ONNX Runtime, any CPU",
    ),
    "openvino": Entry(
        "edgekit.runtimes.openvino:OpenVinoSession",
        needs=("openvino",),
        extra="openvino",
        summary="OpenVINO, Intel and AMD CPUs",
    ),
    "litert": Entry(
        "edgekit.runtimes.litert:LiteRtSession",
        needs=("ai_edge_litert|tflite_runtime",),
        extra="tflite",
        summary="LiteRT with XNNPACK, arm and x86 CPUs",
    ),
    "tensorrt": Entry(
        "edgekit.runtimes.tensorrt.session:TensorRtSession",
        needs=("tensorrt|tensorrt_lean|tensorrt_dispatch|tensorrt_rtx",),
        extra="tensorrt",
        summary="TensorRT, NVIDIA GPUs",
    ),
}

RUNTIME_FORMATS: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("onnx",),
    "openvino": ("openvino", "onnx"),
    "litert": ("tflite",),
    "tensorrt": ("tensorrt", "tensorrt-rtx"),
}
"""Formats that each runtime opens, the one that suits it best first."""

SIMULATED_FORMATS: dict[str, tuple[str, ...]] = {"onnxruntime": ("tensorrt", "tensorrt-rtx")}
"""Formats that a runtime can stand in for: the same graph, not the engine that will run it.

Only by name (``device="onnxruntime", artifact="tensorrt-fp16"``), never by ``auto``; the
session's reason says that it is a simulation.
"""
