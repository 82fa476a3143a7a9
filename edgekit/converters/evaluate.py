"""Run an ONNX graph, as it is, on ONNX Runtime: the reference for passes and gates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort

from edgekit.converters.onnx_model import graph_to_bytes
from edgekit.errors import EngineError
from edgekit.graph import Array, Graph
from edgekit.tensor import DType, TensorSpec

_LARGE_BYTES = 1 << 16


def evaluate(
    graph: Graph, feeds: Mapping[str, Array], *, optimize: bool = False
) -> dict[str, Array]:
    """Return the graph's outputs for these inputs.

    Args:
        graph: The model.
        feeds: Values by input name.
        optimize: Whether ONNX Runtime may rewrite the graph first (same result within
            rounding); off, each operator is computed as the model says it.

    Raises:
        EngineError: ONNX Runtime refuses the model or fails on it.
    """
    # Large weights are fed, not serialized, so that they exist once.
    large = {
        name: value
        for name, value in graph.initializers.items()
        if value.nbytes > _LARGE_BYTES and name not in graph.output_names and _can_feed(value)
    }
    small = {name: value for name, value in graph.initializers.items() if name not in large}
    weights = tuple(
        TensorSpec(name, DType.from_numpy(value.dtype), value.shape)
        for name, value in large.items()
    )
    lean = replace(graph, inputs=(*graph.inputs, *weights), initializers=small)
    return run_model(graph_to_bytes(lean), {**feeds, **large}, optimize=optimize)


def open_graph(
    graph: Graph, *, optimize: bool = False
) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Return a function that runs the graph several times; ``evaluate`` runs it once.

    Args:
        graph: The model.
        optimize: As for ``evaluate``; it makes opening slower and running faster.

    Raises:
        EngineError: ONNX Runtime refuses the model; the function, where it fails on it.
    """
    return _open(graph_to_bytes(graph), optimize=optimize)


def run_model(
    model: bytes | Path, feeds: Mapping[str, Array], *, optimize: bool = False
) -> dict[str, Array]:
    """Return an ONNX file's outputs for these inputs; see ``evaluate``.

    Raises:
        EngineError: ONNX Runtime refuses the model or fails on it.
    """
    return _open(model, optimize=optimize)(feeds)


def _open(
    model: bytes | Path, *, optimize: bool
) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    options.enable_cpu_mem_arena = False
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = str(model) if isinstance(model, Path) else model
    with _told():
        session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        with _told():
            values = session.run(names, dict(feeds))
        return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}

    return run


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    # ONNX Runtime's own errors share no base class below RuntimeError and Exception.
    except Exception as error:
        raise EngineError(f"ONNX Runtime {ort.__version__}: {error}") from error


def _can_feed(value: Array) -> bool:
    return value.dtype.kind in "fiub" and value.dtype.isbuiltin == 1
