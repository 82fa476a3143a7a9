"""What TensorRT's ONNX parser takes, before a device can say it itself.

Source: the operator support lists (docs/operators.md) of onnx-tensorrt for TensorRT 8.5,
9.2, 10.0 and 10.15; parser behaviour marked "measured" is that of TensorRT-RTX 1.7.1.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.errors import UnsupportedOperatorError
from edgekit.graph import Attribute, Graph, Node
from edgekit.tensor import DType

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
_MAX_OUTPUTS = {"MaxPool": 1, "LayerNormalization": 1, "Attention": 1, "BatchNormalization": 1}
_ALLOWED: dict[str, dict[str, tuple[Attribute, ...]]] = {
    "Resize": {
        "antialias": (0,),
        "keep_aspect_ratio_policy": ("stretch",),
        "coordinate_transformation_mode": (
            *("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn"),
            *("asymmetric", "align_corners"),
        ),
    },
    "LSTM": {"input_forget": (0,), "layout": (0,)},
    "LpPool": {"p": (1, 2)},
    "ScatterND": {"reduction": ("none",)},
    "ScatterElements": {"reduction": ("none",)},
    "BatchNormalization": {"training_mode": (0,)},
    "Attention": {"softcap": (0.0,)},
    "TopK": {"sorted": (1,)},
}
# Index of the input that must be known when the engine is built (measured).
_CONSTANT_INPUT = {
    **dict.fromkeys(("Squeeze", "Unsqueeze"), 1),
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"), 1),
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"), 1),
    "ReduceSumSquare": 1,
}
_TYPES = (
    *(DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16, DType.FLOAT64, DType.INT32, DType.INT64),
    *(DType.INT8, DType.UINT8, DType.BOOL),
)


def check_support(graph: Graph) -> None:
    """Refuse what no TensorRT from 8.5 to 11 parses.

    Raises:
        UnsupportedOperatorError: A node is not supported; the message says why.
    """
    if graph.opset > NEWEST_OPSET:
        reason = f"the model uses opset {graph.opset}; up to {NEWEST_OPSET} is read"
        raise _refusal(graph.nodes[0], reason)
    for node in graph.nodes:
        reason = next(_reasons(node, graph), "")
        if reason:
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
    if any(node.outputs[_MAX_OUTPUTS.get(node.op_type, 99) :]):
        extra = node.outputs[_MAX_OUTPUTS[node.op_type]]
        advice = "use another form of the layer"
        if node.op_type == "MaxPool" and not _is_static(node.inputs[0], graph):
            # With fixed sizes ``expand_unpool`` does without the places.
            advice = "fix the sizes of the picture with --shape, or " + advice
        yield f"its output {extra!r} is not supported; {advice}"
    for name, allowed in _ALLOWED.get(node.op_type, {}).items():
        value = node.attributes.get(name)
        if value is not None and value not in allowed:
            yield f"{name}={value!r} is not supported, only {' or '.join(map(repr, allowed))}"
    dilations: tuple[int, ...] = node.attribute("dilations", (1,))
    if "Pool" in node.op_type and set(dilations) != {1}:
        yield f"dilations={dilations} are not supported in pooling"
    if node.op_type == "Dropout" and node.input(2):
        yield "training_mode is not supported; export the model for inference"
    yield from _input_reasons(node, graph)
    yield from _type_reasons(node, graph)


def _input_reasons(node: Node, graph: Graph) -> Iterator[str]:
    index = _CONSTANT_INPUT.get(node.op_type, 99)
    name = node.input(index)
    if name and name not in graph.initializers:
        yield f"its input {name!r} must be a constant"
    if node.op_type == "Resize" and node.input(2) in graph.input_names:
        yield f"its scales {node.input(2)!r} are an input of the model; fix them"
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        zero = graph.initializers.get(node.input(2))
        if zero is not None and zero.astype(int).any():
            yield "its zero point is not 0; quantize symmetrically"
    if node.op_type == "Attention" and any(node.inputs[4:]):
        yield "past keys and values are not supported"


def _is_static(name: str, graph: Graph) -> bool:
    """Whether all sizes but the batch are known."""
    shape = graph.values[name].shape if name in graph.values else None
    return shape is not None and all(isinstance(dim, int) for dim in shape[1:])


def _type_reasons(node: Node, graph: Graph) -> Iterator[str]:
    for name in node.inputs:
        spec = graph.values.get(name)
        if spec is None:
            continue
        if spec.dtype not in _TYPES:
            yield f"its input {name!r} has type {spec.dtype.value}, which TensorRT lacks"
        if spec.dtype is DType.UINT8 and node.op_type not in ("Cast", "DequantizeLinear"):
            yield f"its input {name!r} has type uint8, which only Cast takes"
    for name in node.outputs:
        spec = graph.values.get(name)
        if spec is not None and spec.dtype not in _TYPES:
            yield f"its output {name!r} has type {spec.dtype.value}, which TensorRT lacks"
        if spec is not None and spec.dtype is DType.UINT8 and name not in graph.output_names:
            yield f"its output {name!r} has type uint8, which only inputs and outputs can have"


def _refusal(node: Node, reason: str) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        node=node.name, op_type=node.op_type, reason=reason, target="tensorrt"
    )
