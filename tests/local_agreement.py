"""Whether every tensor of an int8 model follows from the integers that it was computed from.

End to end, one step more or less in an early layer of a deep network becomes many at its end,
in any two engines. So each tensor is recomputed from the integers that LiteRT itself had one
coded tensor earlier, and compared there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from fake_quantized import Array, fake_quantized, open_plain

from edgekit.converters.emitters.tflite import Lowered
from edgekit.converters.emitters.tflite.writer import write_model
from edgekit.graph import Graph
from edgekit.quantized import QuantizedGraph
from edgekit.tensor import TensorSpec


@dataclass(frozen=True)
class Agreement:
    """How far one tensor is from what its inputs say.

    Args:
        name: Of the ONNX tensor.
        within_one: Share of the elements at most one step away.
        largest: Largest distance in steps.
        count: Elements.
    """

    name: str
    within_one: float
    largest: float
    count: int


def local_agreement(
    quantized: QuantizedGraph, lowered: Lowered, feed: Mapping[str, Array], path: Path
) -> list[Agreement]:
    """Return the agreement of every coded tensor that the reference kernels compute."""
    seen = integer_tensors(quantized, lowered, feed, path)
    # A clamp that went into its producer's code leaves one tensor less, and one rounding.
    codes = {
        name: code
        for name, code in quantized.codes.items()
        if name in seen or name in quantized.graph.initializers
    }
    graph = _cut(fake_quantized(replace(quantized, codes=codes)), quantized, set(seen))
    session = open_plain(graph)
    given = {name: _real(values, quantized, name) for name, values in seen.items()}
    feeds = {f"{name}/given": values for name, values in given.items()}
    feeds |= {name: np.asarray(feed[name]) for name in quantized.graph.input_names}
    needed = {spec.name for spec in graph.inputs}
    names = [spec.name for spec in graph.outputs]
    if not names:
        return []
    results = session.run(names, {k: v for k, v in feeds.items() if k in needed})
    found = []
    for name, result in zip(names, results, strict=True):
        tensor = name.removesuffix("/rounded")
        scale = quantized.codes[tensor].quantization.scale[0]
        steps = np.abs(result.astype(np.float64) - given[tensor]) / scale
        found.append(
            Agreement(tensor, float((steps < 1.01).mean()), float(steps.max()), steps.size)
        )
    return found


def _cut(graph: Graph, quantized: QuantizedGraph, seen: set[str]) -> Graph:
    """Return the graph with every seen tensor's readers fed from outside."""
    nodes, outputs = [], []
    renamed = {f"{name}/rounded": f"{name}/given" for name in seen}
    inputs = list(graph.inputs)
    made = {name for node in graph.nodes for name in node.outputs}
    for name in sorted(seen):
        spec = quantized.graph.values[name]
        inputs.append(TensorSpec(f"{name}/given", spec.dtype, spec.shape))
        rounded = name if name in quantized.graph.output_names else f"{name}/rounded"
        if rounded in made and name not in quantized.graph.input_names:
            outputs.append(replace(graph.values[rounded], name=rounded))
    for node in graph.nodes:
        names = tuple(renamed.get(name, name) for name in node.inputs)
        names = tuple(
            f"{name}/given" if name in seen and name in quantized.graph.output_names else name
            for name in names
        )
        nodes.append(replace(node, inputs=names))
    return replace(graph, inputs=tuple(inputs), outputs=tuple(outputs)).with_nodes(nodes)


def _real(values: Array, quantized: QuantizedGraph, name: str) -> Array:
    code = quantized.codes[name].quantization
    steps = values.astype(np.float32) - np.float32(code.zero_point[0])
    return np.asarray(steps * np.float32(code.scale[0]), np.float32)


def integer_tensors(
    quantized: QuantizedGraph, lowered: Lowered, feed: Mapping[str, Array], path: Path
) -> dict[str, Array]:
    """Return the int8 values of the coded ONNX tensors, in ONNX's order of axes."""
    write_model(lowered.model, path)
    interpreter = Interpreter(
        str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    by_name = {spec.name: spec for spec in lowered.inputs}
    for details in interpreter.get_input_details():
        spec = by_name[details["name"]]
        value = feed[spec.name]
        stored = value.transpose(spec.permutation) if spec.permutation else value
        interpreter.set_tensor(details["index"], np.ascontiguousarray(stored))
    interpreter.invoke()
    found: dict[str, list[Array]] = {}
    for details in interpreter.get_tensor_details():
        name = details["name"].removesuffix("/int8").removesuffix("/quantize")
        code = quantized.codes.get(name)
        if code is None or details["dtype"] is not np.int8 or name in quantized.graph.initializers:
            continue
        scale, point = details["quantization"]
        wanted = code.quantization
        if np.float32(scale) == np.float32(wanted.scale[0]) and point == wanted.zero_point[0]:
            values = interpreter.get_tensor(details["index"])
            found[name] = _readings(values, quantized.graph.values[name])
    return _settle(quantized, feed, found)


def _readings(values: Array, spec: TensorSpec) -> list[Array]:
    """Return the values in every order of axes that fits the ONNX shape."""
    shape, last = spec.static_shape, values.ndim - 1
    moved = [values, values.transpose(0, last, *range(1, last))] if last > 1 else [values]
    return [each for each in moved if each.shape == shape]


def _settle(
    quantized: QuantizedGraph, feed: Mapping[str, Array], found: Mapping[str, list[Array]]
) -> dict[str, Array]:
    """Where the shape does not tell the order of axes, take the one that looks like the float."""
    unclear = [name for name, readings in found.items() if len(readings) > 1]
    graph = quantized.graph
    names = [name for name in unclear if name not in graph.input_names]
    wanted: dict[str, Array] = {name: feed[name] for name in unclear if name in feed}
    if names:
        session = open_plain(replace(graph, outputs=tuple(graph.values[name] for name in names)))
        wanted |= dict(zip(names, session.run(names, dict(feed)), strict=True))

    def likeness(name: str, reading: Array) -> float:
        return float(np.corrcoef(reading.ravel(), wanted[name].ravel())[0, 1])

    return {
        name: readings[0]
        if len(readings) == 1
        else max(readings, key=lambda reading: likeness(name, reading))
        for name, readings in found.items()
        if readings
    }
