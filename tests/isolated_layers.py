"""A quantized network taken apart where every engine rounds, to compare engines layer by layer.

Run as a whole, two engines that differ by one step in an early layer differ by many at the end,
and tell nothing of which kernel did it. So every tensor that all engines store as integers
becomes an input for those that read it, and an output of what makes it: in one run each engine
computes every piece of the network from the same integers, with its own kernels and the Q/DQ
pairs where they lie in the whole network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
from ai_edge_litert.interpreter import Interpreter
from fake_quantized import Array, open_plain
from numpy.typing import NDArray
from quantize_models import run_openvino

from edgekit.converters.emitters.tflite import lower
from edgekit.converters.emitters.tflite.writer import write_model
from edgekit.converters.onnx_model import graph_to_bytes
from edgekit.converters.quantize import pick_scheme
from edgekit.converters.quantize.placement import PLACEMENTS, Placement, view_of
from edgekit.converters.quantize.qdq import write_pairs
from edgekit.graph import Graph
from edgekit.quantized import Code, QuantizedGraph
from edgekit.tensor import TensorSpec

Feed = Mapping[str, Array]
GIVEN = "/given"


@dataclass(frozen=True)
class Pieces:
    """The network taken apart.

    Args:
        quantized: All pieces, as one graph.
        placements: Of the whole network, by the scheme's format, for the pieces.
        compared: Tensors that come out of a piece and have a code.
    """

    quantized: QuantizedGraph
    placements: Mapping[str, Placement]
    compared: tuple[str, ...]

    def feed(self, whole: Graph, sample: Feed) -> dict[str, Array]:
        """Return what goes into the pieces: one sample's tensors, each on its grid.

        They are the float network's, so that they lie in the ranges: a value beyond the range
        of a tensor in a piece saturates in the engine that stores it, and in no other.
        """
        codes = self.quantized.codes
        given = {spec.name: spec.name.removesuffix(GIVEN) for spec in self.quantized.graph.inputs}
        made = sorted(set(given.values()) - set(whole.input_names))
        found: dict[str, Array] = dict(sample)
        if made:
            session = open_plain(replace(whole, outputs=tuple(whole.values[n] for n in made)))
            found |= dict(zip(made, session.run(made, dict(sample)), strict=True))
        return {
            name: to_values(to_steps(found[source], codes[name]), codes[name])
            if name in codes
            else found[source]
            for name, source in given.items()
        }


def take_apart(quantized: QuantizedGraph) -> Pieces:
    """Return the pieces of a network quantized for any asymmetric target."""
    graph = quantized.graph
    view = view_of(quantized)
    placements = {
        form: PLACEMENTS[pick_scheme(form).placement](view) for form in ("openvino", "onnx")
    }
    cut = {
        name
        for name in quantized.codes
        if name in graph.producers()
        and graph.values[name].is_static
        and all(name in placement.pairs for placement in placements.values())
    }
    pieces = replace(
        quantized,
        graph=_cut(graph, cut),
        codes={**quantized.codes, **{f"{name}{GIVEN}": quantized.codes[name] for name in cut}},
    )
    compared = tuple(
        spec.name
        for spec in pieces.graph.outputs
        if spec.name in quantized.codes and spec.name not in graph.input_names
    )
    return Pieces(pieces, {form: _moved(each, cut) for form, each in placements.items()}, compared)


def _cut(graph: Graph, cut: set[str]) -> Graph:
    given = {name: f"{name}{GIVEN}" for name in sorted(cut)}
    specs = {new: replace(graph.values[name], name=new) for name, new in given.items()}
    nodes = [
        replace(node, inputs=tuple(given.get(name, name) for name in node.inputs))
        for node in graph.nodes
    ]
    used = {name for node in nodes for name in node.inputs}
    inputs = (*graph.inputs, *(spec for name, spec in specs.items() if name in used))
    more = tuple(graph.values[name] for name in given if name not in graph.output_names)
    values = {**graph.values, **specs}
    apart = replace(graph, inputs=inputs, outputs=(*graph.outputs, *more), values=values)
    return apart.with_nodes(nodes)


def _moved(placement: Placement, cut: set[str]) -> Placement:
    """Return the placement for the pieces: what is read through a pair is given through one."""
    pairs = {**placement.pairs, **{f"{name}{GIVEN}": placement.pairs[name] for name in cut}}
    signed = placement.signed | {f"{name}{GIVEN}" for name in placement.signed & cut}
    return replace(placement, pairs=pairs, signed=signed)


def run_pieces(pieces: Pieces, feed: Feed, folder: Path) -> dict[str, dict[str, NDArray[np.int64]]]:
    """Return, by engine, the integers of every compared tensor."""
    runs: dict[str, Callable[[], list[Array]]] = {
        "OpenVINO": lambda: run_openvino(_with_pairs(pieces, "openvino"), feed, folder),
        "ONNX Runtime": lambda: run_onnxruntime(_with_pairs(pieces, "onnx"), feed),
        "LiteRT": lambda: run_litert(pieces.quantized, feed, folder / "pieces.tflite"),
    }
    names = pieces.quantized.graph.output_names
    codes = pieces.quantized.codes
    found = {}
    for engine, run in runs.items():
        results = dict(zip(names, run(), strict=True))
        found[engine] = {name: to_steps(results[name], codes[name]) for name in pieces.compared}
    return found


def _with_pairs(pieces: Pieces, form: str) -> Graph:
    return write_pairs(pieces.quantized, pick_scheme(form), pieces.placements[form])


def run_onnxruntime(graph: Graph, feed: Feed) -> list[Array]:
    """Return the outputs, with its integer kernels, one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        graph_to_bytes(graph), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, dict(feed)))


def run_litert(quantized: QuantizedGraph, feed: Feed, path: Path) -> list[Array]:
    """Return the outputs of the TFLite file under the default delegate, in ONNX's axes."""
    lowered = lower(quantized)
    write_model(lowered.model, path)
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    given = {spec.name: _stored(feed[spec.name], spec) for spec in lowered.inputs}
    results = interpreter.get_signature_runner()(**given)
    by_name = {
        spec.name: results[spec.name].transpose(np.argsort(spec.permutation))
        if spec.permutation
        else results[spec.name]
        for spec in lowered.outputs
    }
    return [by_name[name] for name in quantized.graph.output_names]


def _stored(value: Array, spec: TensorSpec) -> Array:
    moved = value.transpose(spec.permutation) if spec.permutation else value
    return np.ascontiguousarray(moved).reshape(moved.shape)


def to_steps(values: Array, code: Code) -> NDArray[np.int64]:
    """Return the integers that stand for real values."""
    scale, point = code.quantization.scale[0], code.quantization.zero_point[0]
    # An engine that writes floats at an output writes those of its integers: near one of them.
    steps = np.rint(values.astype(np.float64) / scale) + point
    return np.asarray(np.clip(steps, -128, 127), np.int64)


def to_values(steps: NDArray[np.int64], code: Code) -> NDArray[np.float32]:
    """Return the real values of integers."""
    scale, point = code.quantization.scale[0], code.quantization.zero_point[0]
    return np.asarray((steps - point).astype(np.float32) * np.float32(scale))
