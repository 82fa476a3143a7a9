"""What can be converted to: a format, its precisions, and named presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgekit.errors import UsageError
from edgekit.registry import unknown_name

ShapeRange = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Smallest, usual and largest shape of one input."""

BUILD_SETTINGS = ("workspace_mib", "optimization_level", "dla_core")


@dataclass(frozen=True)
class Target:
    """One thing to emit.

    Args:
        name: As the user spells it.
        format: Format of the artifact, one of ``artifact.FORMATS``.
        precision: How weights are stored: ``"fp32"`` or ``"fp16"``; or how the model is
            quantized: ``"int8"``, ``"w8"`` (weights only), ``"w8a32"`` (and the products),
            ``"w8a16"`` (int16 activations), ``"w4"`` (4-bit weights of products).
        precisions: Those that the format can honour.
        summary: One line for help texts.
        ranges: For inputs with dynamic sizes, the smallest, the usual and the largest shape:
            TensorRT chooses its kernels for them.
        build: What the recipe of a TensorRT engine asks for: ``workspace_mib``,
            ``optimization_level``, ``dla_core``.
    """

    name: str
    format: str
    precision: str = "fp32"
    precisions: tuple[str, ...] = ("fp32", "fp16")
    summary: str = ""
    ranges: Mapping[str, ShapeRange] = field(default_factory=dict, hash=False)
    build: Mapping[str, int] = field(default_factory=dict, hash=False)

    def with_precision(self, precision: str) -> Target:
        """Return the target in another precision.

        Raises:
            UsageError: The format cannot honour it.
        """
        if precision not in self.precisions:
            raise UsageError(
                f"target {self.name!r} cannot be {precision!r}; "
                f"it can be: {', '.join(self.precisions)}"
            )
        return replace(self, precision=precision)


_INT8 = ("fp32", "fp16", "int8")
_OPENVINO = (*_INT8, "w8", "w4")
_TFLITE = (*_INT8, "w8", "w8a32", "w8a16", "w4")

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "onnx", "onnx", precisions=("fp32", "int8", "w8", "w4"), summary="ONNX Runtime, any CPU"
        ),
        Target(
            "openvino", "openvino", precisions=_OPENVINO, summary="OpenVINO IR, Intel CPU and GPU"
        ),
        Target(
            "tflite",
            "tflite",
            precisions=_TFLITE,
            summary="LiteRT flatbuffer, phones and small boards",
        ),
        Target(
            "tensorrt",
            "tensorrt",
            precisions=_INT8,
            summary="ONNX and recipe for TensorRT 8.5 to 11, Jetson",
        ),
        Target(
            "tensorrt-rtx",
            "tensorrt-rtx",
            precisions=_INT8,
            summary="TensorRT-RTX engine for desktop RTX GPUs, compiled here",
        ),
        Target(
            "intel-cpu", "openvino", precisions=_OPENVINO, summary="OpenVINO IR for an Intel CPU"
        ),
        Target(
            "android-arm64",
            "tflite",
            precisions=_TFLITE,
            summary="LiteRT flatbuffer for an Android phone",
        ),
        Target(
            "jetson-orin",
            "tensorrt",
            precision="fp16",
            precisions=_INT8,
            summary="TensorRT FP16 on Orin",
        ),
    )
}


def pick_target(name: str) -> Target:
    """Return the target of that name; ``NAME:PRECISION`` sets its precision.

    Raises:
        UsageError: There is no such target, or it cannot have that precision.
    """
    base, _, precision = name.partition(":")
    if base not in TARGETS:
        raise UsageError(unknown_name(base, tuple(TARGETS), kind="target"))
    target = TARGETS[base]
    return target.with_precision(precision) if precision else target
