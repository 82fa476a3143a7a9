"""What ``Session.run`` adds to the engine's own call, on a model of two tiny operators.

Both are called alternately in one process, so that what else the machine does hits both;
the figure is the difference of the medians. Prints JSON.

    python benchmarks/session_overhead.py [--calls 5000]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from tiny_models import SHAPE, onnx_content, open_tiny, openvino_content, tflite_content

from edgekit.runtimes import RUNTIMES
from edgekit.runtimes.options import SessionOptions

NAMES = ["sum", "product"]
WARMUP = 500


def raw_onnxruntime(feed: dict[str, Any]) -> Callable[[], object]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    engine = ort.InferenceSession(onnx_content(SHAPE)["model"], options)
    return lambda: engine.run(NAMES, feed)


def raw_openvino(feed: dict[str, Any]) -> Callable[[], object]:
    """Its call with shared inputs, the fastest that still returns arrays of one's own."""
    import openvino as ov

    content = openvino_content(SHAPE)
    core = ov.Core()
    weights = ov.Tensor(np.frombuffer(content["weights"], np.uint8).copy())
    engine = core.compile_model(
        core.read_model(content["model"], weights),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": 1,
        },
    )
    request = engine.create_infer_request()
    return lambda: request.infer(feed, share_inputs=True)


def raw_litert(feed: dict[str, Any]) -> Callable[[], object]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=tflite_content(SHAPE)["model"], num_threads=1)
    interpreter.allocate_tensors()
    inputs = [item["index"] for item in interpreter.get_input_details()]
    outputs = [item["index"] for item in interpreter.get_output_details()]

    def call() -> list[Any]:
        interpreter.set_tensor(inputs[0], feed["a"])
        interpreter.set_tensor(inputs[1], feed["b"])
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return call


RAW = {"onnxruntime": raw_onnxruntime, "openvino": raw_openvino, "litert": raw_litert}


def measure(runtime: str, calls: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    feed = {name: rng.random(SHAPE, dtype=np.float32) for name in ("a", "b")}
    buffers = {name: np.empty(SHAPE, np.float32) for name in NAMES}
    session = open_tiny(runtime, options=SessionOptions(threads=1))
    functions: dict[str, Callable[[], object]] = {
        "raw": RAW[runtime](feed),
        "session": lambda: session.run(feed),
        "session_into_buffers": lambda: session.run(feed, outputs=buffers),
    }
    times: dict[str, list[int]] = {name: [] for name in functions}
    for turn in range(WARMUP + calls):
        for name, function in functions.items():
            start = perf_counter_ns()
            function()
            if turn >= WARMUP:
                times[name].append(perf_counter_ns() - start)
    session.close()
    medians = {f"{name}_us": statistics.median(values) / 1000 for name, values in times.items()}
    added = medians["session_us"] - medians["raw_us"]
    return {
        **{name: round(value, 2) for name, value in medians.items()},
        "added_us": round(added, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=5000)
    calls = parser.parse_args().calls
    here = [name for name, entry in RUNTIMES.items() if not entry.missing()]
    result = {
        "what": "median microseconds per call; added_us = session_us - raw_us",
        "calls": calls,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "runtimes": {name: measure(name, calls) for name in here},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
