"""What each target wants of a quantized model.

To add a scheme: one line in ``SCHEMES``. Where its Q/DQ pairs lie is a function of
``placement.PLACEMENTS``; the TFLite emitter writes integers and needs none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgekit.errors import UsageError
from edgekit.tensor import DType

BLOCK = 32
"""Rows of a 4-bit weight with one scale: the least that all kernels take, so the most exact.

Measured on products of normal noise: 20.2 dB with 32, 18.4 with 128, 17 with one a column.
"""


@dataclass(frozen=True)
class Scheme:
    """How one target stores and computes a quantized model.

    Args:
        format: Format of the artifact, one of ``artifact.FORMATS``.
        precision: As the user spells it: ``"int8"``, ``"w8a16"``, ``"w8a32"``, ``"w8"``,
            ``"w4"``.
        activations: Their type where they are written; None where they stay float.
        placement: Name in ``placement.PLACEMENTS`` of where Q/DQ pairs lie.
        symmetric: Whether every zero point of an activation is 0.
        bias: Whether a layer's bias is written as int32 at input scale x weight scale; else
            it is float, on that grid where codes are those of the targets that do.
        codes_layers: Whether a layer is an integer one only where its result is.
        float_weights: Whether weights stay float32 in the file, in front of their own pair.
        weight_bits: Of the weights of products (MatMul, Gemm); all others have 8.
        block: Rows of a 4-bit weight that share a scale; None for all of a column.
        opset: Newest operator set that the target's oldest release reads; None for any.
        summary: One line for help texts.

    Sources: OpenVINO and ONNX Runtime, measured (docs/quantization.md); LiteRT 8-bit
    quantization specification; TensorRT developer guide, "Working with quantized types".
    """

    format: str
    precision: str
    activations: DType | None
    placement: str = ""
    symmetric: bool = False
    bias: bool = False
    codes_layers: bool = False
    float_weights: bool = False
    weight_bits: int = 8
    block: int | None = None
    opset: int | None = None
    summary: str = ""

    @property
    def name(self) -> str:
        """Its name, such as ``"openvino-int8"``."""
        return f"{self.format}-{self.precision}"

    @property
    def is_weight_only(self) -> bool:
        """Whether activations stay float."""
        return self.activations is None


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme(
            "openvino", "int8", DType.UINT8, "flow",
            summary="uint8 activations at the inputs of layers, int8 flows between them",
        ),
        Scheme(
            "onnx", "int8", DType.UINT8, "everywhere", bias=True,
            summary="uint8 activations around every operator that has an integer kernel",
        ),
        Scheme(
            "tflite", "int8", DType.INT8, codes_layers=True,
            summary="int8 kernels of LiteRT",
        ),
        Scheme(
            "tensorrt", "int8", DType.INT8, "inputs", symmetric=True, float_weights=True, opset=17,
            summary="symmetric int8 at the inputs of layers",
        ),
        Scheme(
            "tflite", "w8a16", DType.INT16, symmetric=True, codes_layers=True,
            summary="int16 activations, int8 weights",
        ),
        Scheme("tflite", "w8", None, summary="int8 weights, float compute"),
        Scheme("tflite", "w8a32", None, summary="int8 weights, hybrid kernels, float activations"),
        Scheme("onnx", "w8", None, "weights", summary="int8 weights in the file, float compute"),
        Scheme("openvino", "w8", None, "weights", summary="int8 weights, float compute"),
        Scheme(
            "onnx", "w4", None, "weights", weight_bits=4, block=BLOCK,
            summary="4-bit weights of products, int8 of the others",
        ),
        Scheme(
            "openvino", "w4", None, "weights", weight_bits=4, block=BLOCK,
            summary="4-bit weights of products, int8 of the others",
        ),
        Scheme(
            "tflite", "w4", None, weight_bits=4,
            summary="4-bit weights of products, int8 of the others, hybrid kernels",
        ),
    )
}  # fmt: skip

# The desktop edition compiles what its elder brother would.
_RTX = replace(SCHEMES["tensorrt-int8"], format="tensorrt-rtx")
SCHEMES[_RTX.name] = _RTX


def pick_scheme(format: str, precision: str = "int8") -> Scheme:
    """Return the scheme of a target's format.

    Raises:
        UsageError: The format has no such precision; the message lists those it has.
    """
    scheme = SCHEMES.get(f"{format}-{precision}")
    if scheme is not None:
        return scheme
    known = [item.precision for item in SCHEMES.values() if item.format == format]
    if not known:
        formats = sorted({item.format for item in SCHEMES.values()})
        raise UsageError(f"format {format!r} has no quantized form; choose {', '.join(formats)}")
    raise UsageError(
        f"{format} cannot be quantized as {precision!r}; it can be: {', '.join(known)}"
    )
