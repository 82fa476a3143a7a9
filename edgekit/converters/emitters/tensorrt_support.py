"""What TensorRT's ONNX parser takes, before a device can say it itself.

Source: the operator support lists (docs/operators.md) of onnx-tensorrt for TensorRT 8.5,
9.2, 10.0 and 10.15; parser behaviour marked "measured" is that of TensorRT-RTX 1.7.1.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.errors import UnsupportedOperatorError
from edgekit.graph import Graph, Node
from edgekit.tensor import DType, TensorSpec

NEWEST_OPSET = 24
_OLDEST_BY_OPSET = ((17, "8.5"), (20, "10.0"), (NEWEST_OPSET, "10.15"))

_UNSUPPORTED = frozenset(
    {
        *("AffineGrid", "Bernoulli", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr"),
        *("BitwiseXor", "CenterCropPad", "Col2Im", "Compress", "ConcatFromSequence"),
        *("ConvInteger", "DFT", "Det", "DynamicQuantizeLinear", "ImageDecoder"),
        *("MatMulInteger", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix", "Multinomial"),
        *("NegativeLogLikelihoodLoss", "Optional", "OptionalGetElement", "OptionalHasElement"),
        *("QLinearConv", "QLinearMatMul", "RegexFullMatch", "SequenceAt", "SequenceConstruct"),
        *("SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap"),
        *("SoftmaxCrossEntropyLoss", "SplitToSequence", "StringConcat", "StringNormalizer"),
        *("StringSplit", "TfIdfVectorizer", "Unique"),
    }
)
# Operators that the list of 8.5 lacks, with the oldest list that has them.
_NEWER = {
    **dict.fromkeys(
        ("CastLike", "GroupNormalization", "Hardmax", "IsInf", "LayerNormalization"), "10.0"
    ),
    **dict.fromkeys(
        ("Attention", "BlackmanWindow", "DeformConv", "Gelu", "HammingWindow", "HannWindow"),
        "10.15",
    ),
    **dict.fromkeys(("Mish", "RMSNormalization", "RotaryEmbedding", "STFT"), "10.15"),
}
_RESIZE_MODES = ("nearest", "linear", "cubic")
_TYPES = (
    *(DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16, DType.FLOAT64, DType.INT32, DType.INT64),
    *(DType.INT8, DType.UINT8, DType.INT4, DType.BOOL),
)


def check_support(graph: Graph) -> None:
    """Refuse what no TensorRT from 8.5 to 11 parses.

    Raises:
        UnsupportedOperatorError: A node is not supported; the message says why.
    """
    if graph.opset > NEWEST_OPSET:
        node = graph.nodes[0]
        raise _refusal(node, f"the model uses opset {graph.opset}, up to {NEWEST_OPSET} is read")
    for node in graph.nodes:
        reason = next(_reasons(node, graph), None)
        if reason is not None:
            raise _refusal(node, reason)
        for value in node.attributes.values():
            if isinstance(value, Graph):
                check_support(value)


def oldest_tensorrt(graph: Graph) -> str:
    """Return the oldest release whose support list covers the model's opset and operators."""
    by_opset = next(name for opset, name in _OLDEST_BY_OPSET if graph.opset <= opset)
    versions = [by_opset, *(_NEWER.get(node.op_type, "8.5") for node in graph.nodes)]
    return max(versions, key=lambda version: tuple(map(int, version.split("."))))


def _reasons(node: Node, graph: Graph) -> Iterator[str]:
    if node.domain:
        yield f"domain {node.domain!r} is a plugin's; the parser finds none"
    if node.op_type in _UNSUPPORTED:
        yield "the operator is not on its support list; replace it or cut the model before it"
    if node.op_type == "MaxPool" and any(node.outputs[1:]):
        yield "its output Indices is not supported (max-unpooling); use another upsampling"
    if node.op_type == "LayerNormalization" and any(node.outputs[1:]):
        yield "only its first output is supported"
    if node.op_type == "LSTM" and (
        node.attribute("input_forget", 0) or node.attribute("layout", 0)
    ):
        yield "input_forget and layout must be 0"
    if node.op_type == "Resize":
        yield from _resize_reasons(node)
    if node.op_type == "ScatterND" and node.attribute("reduction", "none") != "none":
        yield f"reduction={node.attribute('reduction', 'none')!r} is not supported, only 'none'"
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        zero = graph.initializers.get(node.input(2))
        if zero is not None and zero.astype(int).any():
            yield "its zero point is not 0; quantize symmetrically"
    yield from _type_reasons(node, graph)


def _resize_reasons(node: Node) -> Iterator[str]:
    if node.attribute("antialias", 0):
        yield "antialias=1 is not supported; export without it"
    policy = node.attribute("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        yield f"keep_aspect_ratio_policy={policy!r} is not supported, only 'stretch'"
    mode = node.attribute("mode", "nearest")
    if mode not in _RESIZE_MODES:
        yield f"mode={mode!r} is not supported"


def _type_reasons(node: Node, graph: Graph) -> Iterator[str]:
    for name in node.outputs:
        spec: TensorSpec | None = graph.values.get(name)
        if spec is not None and spec.dtype not in _TYPES:
            yield f"its output {name!r} has type {spec.dtype.value}, which TensorRT lacks"


def _refusal(node: Node, reason: str) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        node=node.name, op_type=node.op_type, reason=reason, target="tensorrt"
    )
