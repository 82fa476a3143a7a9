"""A bundle of a few hundred bytes for the tests: two artifacts, one golden, one with figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.artifact import Artifact
from edgekit.bundle import (
    Bundle,
    Golden,
    Manifest,
    Parity,
    Source,
    Status,
    pack_golden,
    write_bundle,
)
from edgekit.preprocess import Preprocess
from edgekit.tensor import DType, Layout, TensorSpec

KINDS = ("zip", "folder")

INPUT = TensorSpec("image", DType.FLOAT32, ("batch", 3, 4, 4), Layout.NCHW)
OUTPUT = TensorSpec("scores", DType.FLOAT32, ("batch", 2))
GOLDEN = Golden(
    origin="synthetic, seed 0",
    inputs={"image": np.random.default_rng(0).standard_normal((1, 3, 4, 4)).astype(np.float32)},
    outputs={"scores": np.array([[0.25, 0.75]], np.float32)},
)
GOLDEN_FILES, GOLDEN_CONTENT = pack_golden(GOLDEN, index=0)

OPENVINO = Artifact(
    "openvino",
    "fp32",
    {"model": "openvino-fp32/model.xml", "weights": "openvino-fp32/model.bin"},
    (INPUT,),
    (OUTPUT,),
)
TENSORRT = Artifact(
    "tensorrt",
    "fp16",
    {"model": "tensorrt-fp16/model.onnx"},
    (INPUT,),
    (OUTPUT,),
    recipe={"workspace_mib": 1024},
)

FILES: Mapping[str, bytes] = {
    "openvino-fp32/model.xml": b"<net/>",
    "openvino-fp32/model.bin": bytes(range(256)) * 4,
    "tensorrt-fp16/model.onnx": b"onnx",
    **GOLDEN_CONTENT,
}


def make_manifest(**changes: Any) -> Manifest:
    manifest = Manifest(
        name="tiny",
        source=Source("tiny.onnx", "ab" * 32, framework="pytorch 2.13.0", opset=18),
        inputs=(INPUT,),
        outputs=(OUTPUT,),
        artifacts=(OPENVINO, TENSORRT),
        preprocess={"image": Preprocess(resize="letterbox", scale=(1 / 255,), pad_value=114)},
        labels=("cat", "dög"),
        goldens=(GOLDEN_FILES,),
        parity=(
            Parity(
                artifact="openvino-fp32",
                output=OUTPUT.name,
                runtime="openvino",
                runtime_version="2026.4.1",
                cosine=0.999999,
                max_abs_error=2e-6,
                relative_error=1e-6,
                sqnr_db=float("inf"),
                inference_precision="fp32",
                date="2026-01-31T12:00:00Z",
            ),
        ),
        status={
            "openvino-fp32": Status("verified"),
            "tensorrt-fp16": Status("unverified", "there is no NVIDIA GPU on this machine"),
        },
        tools={"onnx": "1.23.2", "openvino": "2026.4.1"},
        calibration="sha256:1234",
        created="2026-01-31T12:00:00Z",
    )
    return replace(manifest, **changes)


def write_tiny(path: Path, kind: str, *, name: str = "tiny") -> Bundle:
    return write_bundle(path, make_manifest(name=name), FILES, folder=kind == "folder")


def edit_manifest(folder: Path, edit: Callable[[bytes], bytes]) -> None:
    """Change the manifest of a folder bundle as an attacker would: on disk, after writing."""
    path = folder / "manifest.json"
    path.write_bytes(edit(path.read_bytes()))
