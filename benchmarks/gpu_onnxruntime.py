"""The ONNX Runtime section of ``gpu_check.py``: TensorRT's files under its CUDA provider."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.artifact import Artifact
from edgekit.bundle import Bundle
from edgekit.registry import is_installed
from edgekit.runtimes.selftest import Check, Skip, expect, run_checks
from edgekit.runtimes.session import Array
from edgekit.runtimes.timing import time_in_turns

PROVIDER, REFERENCE = "CUDAExecutionProvider", "CPUExecutionProvider"
LEAST_COSINE = 0.999
"""Convolutions in TF32 differ by 2^-11; of Q/DQ files that turns a code here and there."""

ROUNDS, LIMIT_S = 100, 20.0


def check_onnxruntime(bundle_path: Path) -> tuple[Check, ...]:
    """Return what came of each artifact for TensorRT, the int8 one's Q/DQ file among them."""
    bundle = Bundle.open(bundle_path)
    checks = {
        f"{item.name}, {role}": partial(_compare, bundle, item, role)
        for item in bundle.artifacts
        if item.format == "tensorrt"
        for role in ("model", "typed")
        if role in item.files
    }
    return run_checks("onnxruntime", checks)


def _compare(bundle: Bundle, artifact: Artifact, role: str) -> str:
    content = bundle.files(artifact).read(role)
    here, reference = _session(content, PROVIDER), _session(content, REFERENCE)
    names = [item.name for item in reference.get_outputs()]
    worst, largest = 1.0, 0.0
    feed: dict[str, Array] = {}
    for golden in bundle.goldens():
        feed = _as_taken(golden.inputs, reference)
        for got, expected in zip(here.run(names, feed), reference.run(names, feed), strict=True):
            worst = min(worst, _cosine(got, expected))
            largest = max(largest, float(np.abs(got.astype(np.float64) - expected).max()))
    times = time_in_turns(
        {
            "GPU": lambda: here.run(names, feed),
            "CPU": lambda: reference.run(names, feed),
        },
        rounds=ROUNDS,
        limit_s=LIMIT_S,
    )
    expect(worst >= LEAST_COSINE, f"cosine {worst:.6f} with the CPU's, at least {LEAST_COSINE}")
    return (
        f"cosine {worst:.6f}, largest difference {largest:.3g} with the CPU provider's; "
        f"median {times['GPU'].median_ms:.3f} ms, CPU {times['CPU'].median_ms:.3f} ms"
    )


def _session(content: bytes, provider: str) -> Any:
    if not is_installed("onnxruntime"):
        raise Skip("onnxruntime is not installed; run: pip install onnxruntime-gpu")
    import onnxruntime as ort

    if provider not in ort.get_available_providers():
        raise Skip(f"this onnxruntime has no {provider}; run: pip install onnxruntime-gpu")
    if provider == PROVIDER and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA's and cuDNN's libraries out of pip's wheels, since 1.21
    options = ort.SessionOptions()
    options.log_severity_level = 3  # its optimizer warns of every scale that it does not fold
    session = ort.InferenceSession(content, options, providers=[provider])
    # Where the provider's library does not load, the CPU answers without a word.
    if session.get_providers()[0] != provider:
        raise Skip(f"{provider} does not start here: CUDA's or cuDNN's libraries are missing")
    return session


def _as_taken(inputs: Mapping[str, Array], session: Any) -> dict[str, Array]:
    dtypes = {"tensor(float16)": np.float16, "tensor(float)": np.float32}
    taken = {}
    for item in session.get_inputs():
        array = inputs[item.name]
        taken[item.name] = array.astype(dtypes.get(item.type, array.dtype))
    return taken


def _cosine(one: Array, other: Array) -> float:
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    product = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / product if product else float(np.array_equal(a, b))
