"""Run a float graph with its activations tapped."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType

from edgekit.converters.onnx_model import write_graph
from edgekit.converters.tap import PART_BYTES, tap_graph
from edgekit.graph import Array, Graph
from edgekit.pipeline.stage import stage_folder
from edgekit.runtimes.select import load
from edgekit.runtimes.session import Session


class GraphTap:
    """Yields tensors of a graph for one set of inputs; a context, a ``collect.Tap``.

    Args:
        graph: The float graph.
        names: Tensors to yield, in topological order; inputs of the graph may be among them.
        threads: Of the engine; None is half the cores: its threads wait for each other by
            spinning, and counting what they made takes a core of its own.
        part_bytes: Activations that may be held at once; more are computed in several runs.
    """

    def __init__(
        self,
        graph: Graph,
        names: Sequence[str],
        *,
        threads: int | None = None,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._fed = [name for name in names if name in graph.input_names]
        computed = [name for name in names if name not in graph.input_names]
        self._stack = ExitStack()
        folder = self._stack.enter_context(stage_folder())
        self._sessions: list[Session] = []
        threads = threads or max((os.cpu_count() or 1) // 2, 1)
        for number, part in enumerate(tap_graph(graph, computed, part_bytes=part_bytes)):
            path = folder / f"{number}.onnx"
            write_graph(part, path)
            session = load(path, device="onnxruntime", threads=threads)
            self._sessions.append(self._stack.enter_context(session))

    def __call__(self, inputs: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
        """Yield each tensor's name and value; one part's memory is freed for the next."""
        for name in self._fed:
            yield name, inputs[name]
        for session in self._sessions:
            yield from session.run(inputs).items()

    def __enter__(self) -> GraphTap:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
