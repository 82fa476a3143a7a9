"""OpenVINO IR: weights in float32, in float16 (computed as the device likes), or int8, w8, w4."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import openvino as ov
from openvino.preprocess import ColorFormat, PrePostProcessor

from edgekit.artifact import Artifact
from edgekit.converters.emitters.facts import facts_of, labels_of, preprocess_of
from edgekit.converters.onnx_model import write_graph
from edgekit.converters.passes.expand_unpool import expand_unpool
from edgekit.converters.passes.fuse_preprocess import fuse_preprocess
from edgekit.converters.quantize.written import written_graph
from edgekit.errors import EngineError, UnsupportedOperatorError
from edgekit.graph import Graph, Node
from edgekit.preprocess import Preprocess
from edgekit.quantized import QuantizedGraph
from edgekit.target import Target
from edgekit.tensor import DType, Layout

MODEL_FILE = "model.xml"
WEIGHTS_FILE = "model.bin"

_UNCONVERTED = re.compile(r"No conversion rule found for operations: (.+)")
# Words of OpenVINO Model API for how a picture gets the model's size.
_RESIZE_TYPES = {
    "stretch": "standard",
    "letterbox": "fit_to_window_letterbox",
    "letterbox-topleft": "fit_to_window",
    "center-crop": "crop",
}


def emit(
    graph: Graph | QuantizedGraph,
    folder: Path,
    *,
    target: Target,
    preprocess: Mapping[str, Preprocess] | None = None,
) -> Artifact:
    """Write the model as OpenVINO IR, facts in its ``model_info``.

    Args:
        graph: The model, simplified; with its table for int8, w8 and w4.
        folder: Where to write; empty.
        target: Its precision is fp32, fp16, int8, w8 or w4.
        preprocess: By input name, what to put into the model.

    Raises:
        UnsupportedOperatorError: OpenVINO has no such operator; the node is named.
        EngineError: OpenVINO refuses the model for another reason.
        UsageError: A graph cannot do that preprocessing.
    """
    graph = expand_unpool(written_graph(graph, target))
    fused = dict(preprocess or {})
    native = {name: item for name, item in fused.items() if _is_native(item)}
    rest = {name: item for name, item in fused.items() if name not in native}
    fused_graph = fuse_preprocess(graph, fused) if fused else graph
    source = fuse_preprocess(graph, rest) if rest else graph
    model = _read(source)
    if native:
        model = _with_preprocess(model, native)
    _name_tensors(model, fused_graph)
    _write_facts(model, facts_of(graph, target=target, fused=fused), fused=bool(fused))
    ov.save_model(model, folder / MODEL_FILE, compress_to_fp16=target.precision == "fp16")
    return Artifact(
        format="openvino",
        precision=target.precision,
        files={"model": MODEL_FILE, "weights": WEIGHTS_FILE},
        inputs=fused_graph.inputs,
        outputs=fused_graph.outputs,
        recipe={"openvino": str(ov.__version__)},
        fused_preprocess=tuple(fused),
    )


def _read(graph: Graph) -> Any:
    """Return the openvino.Model of a graph.

    ``Core.read_model`` and not ``convert_model``: the latter reports its use over the network.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-openvino-") as folder:
        # OpenVINO maps the weights of a file; bytes in memory it would copy.
        path = Path(folder, "model.onnx")
        write_graph(graph, path)
        try:
            return ov.Core().read_model(path)
        except RuntimeError as error:
            raise _refusal(graph, str(error)) from error


def _refusal(graph: Graph, text: str) -> UnsupportedOperatorError | EngineError:
    found = _UNCONVERTED.search(text)
    names = re.findall(r"(\w+)-\d+", found.group(1)) if found else []
    node = next((node for node in graph.nodes if node.op_type in names), None)
    if node is None:
        node = _named_in(graph.nodes, text)
    if node is None:
        return EngineError(f"OpenVINO {ov.__version__} cannot read the model: {_one_line(text)}")
    return UnsupportedOperatorError(
        node=node.name,
        op_type=node.op_type,
        reason=f"OpenVINO {ov.__version__} says: {_one_line(text)}",
        target="openvino",
    )


def _named_in(nodes: Iterable[Node], text: str) -> Node | None:
    """Return the node whose name or output OpenVINO's message quotes."""
    for node in nodes:
        words = [word for word in (node.name, *node.outputs) if word]
        if any(re.search(rf"(?<![\w/.]){re.escape(word)}(?![\w/])", text) for word in words):
            return node
    return None


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    kept = [
        line
        for line in lines
        if line and not line.startswith(("Exception from", "Check ", "To facilitate", "Summary"))
    ]
    return " ".join(kept)[:400]


def _is_native(preprocess: Preprocess) -> bool:
    """Whether OpenVINO's PrePostProcessor does exactly this; the graph does the rest."""
    swaps_only = {preprocess.colour, preprocess.frame_colour} <= {"RGB", "BGR"}
    return preprocess.dtype is DType.FLOAT32 and (
        swaps_only or preprocess.colour == preprocess.frame_colour
    )


def _with_preprocess(model: Any, preprocess: Mapping[str, Preprocess]) -> Any:
    processor = PrePostProcessor(model)
    for name, item in preprocess.items():
        affine = item.normalisation()
        entry = processor.input(name)
        entry.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        entry.model().set_layout(ov.Layout(item.layout.value))
        steps = entry.preprocess()
        if item.frame_colour != item.colour:
            entry.tensor().set_color_format(getattr(ColorFormat, item.frame_colour))
            steps.convert_color(getattr(ColorFormat, item.colour))
        steps.convert_element_type(ov.Type.f32)
        if not affine.is_identity:
            steps.mean(list(affine.mean_values)).scale(list(affine.scale_values))
    return processor.build()


def _name_tensors(model: Any, graph: Graph) -> None:
    """Give inputs and outputs the source model's names, and layouts where they are known."""
    for ports, specs in ((model.inputs, graph.inputs), (model.outputs, graph.outputs)):
        for port, spec in zip(ports, specs, strict=True):
            if spec.name not in port.get_names():
                port.get_tensor().add_names({spec.name})
            if spec.layout is not Layout.UNKNOWN:
                port.get_node().set_layout(ov.Layout(spec.layout.value))


def _write_facts(model: Any, facts: Mapping[str, str], *, fused: bool) -> None:
    """Write the facts under EdgeKit's keys and under those of OpenVINO Model API."""
    known = {key.replace(".", "_"): value for key, value in facts.items()}
    labels = labels_of(facts)
    if labels:
        # Model API separates labels by spaces.
        known["labels"] = " ".join(label.replace(" ", "_") for label in labels)
    pictures = preprocess_of(facts)
    if pictures:
        known |= _picture_facts(next(iter(pictures.values())))
        known["embedded_processing"] = str(fused)
    for key, value in known.items():
        model.set_rt_info(value, ["model_info", key])


def _picture_facts(preprocess: Preprocess) -> dict[str, str]:
    affine = preprocess.normalisation()
    facts = {
        "mean_values": _numbers(affine.mean_values),
        "scale_values": _numbers(affine.scale_values),
        "reverse_input_channels": str(preprocess.colour == "RGB"),
        "layout": preprocess.layout.value,
    }
    if preprocess.resize in _RESIZE_TYPES:
        facts["resize_type"] = _RESIZE_TYPES[preprocess.resize]
        facts["pad_value"] = str(preprocess.pad_value)
    return facts


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:.9g}" for value in values)
