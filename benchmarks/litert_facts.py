"""What LiteRT makes of a .tflite file, whoever wrote it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from edgekit.metrics import cosine, relative_error
from edgekit.runtimes.tflite_file import read_tflite

Array = NDArray[np.generic]
CHANNELS_LAST = {3: (0, 2, 1), 4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}


@dataclass(frozen=True)
class FileFacts:
    """Counts of one file.

    Args:
        nbytes: Its size.
        operators: How many there are, in all subgraphs.
        transposes: TRANSPOSE among them.
        customs: Those that are no builtin: no stock runtime has them.
        partitions: Parts that XNNPACK took; None where the file does not load.
        error: Why it does not load; ``""`` where it does.
    """

    nbytes: int
    operators: int
    transposes: int
    customs: int
    partitions: int | None
    error: str = ""


def read_facts(path: Path) -> FileFacts:
    """Count a file's operators, and the partitions that the default delegate makes of it."""
    file = read_tflite(path)
    operators = [op for graph in file.subgraphs for op in graph.operators]
    counts = (
        file.nbytes,
        len(operators),
        sum(op.name == "TRANSPOSE" for op in operators),
        sum(op.is_custom for op in operators),
    )
    try:
        interpreter = open_interpreter(path)
    except (RuntimeError, ValueError) as error:
        return FileFacts(*counts, None, str(error).splitlines()[0][:160])
    return FileFacts(*counts, count_partitions(interpreter))


def open_interpreter(path: Path, *, xnnpack: bool = True, threads: int = 1) -> Interpreter:
    """Return an interpreter with its tensors allocated."""
    resolver = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(
        model_path=str(path), num_threads=threads, experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    return interpreter


def count_partitions(interpreter: Interpreter) -> int:
    """Return how many parts of the graph a delegate took: one DELEGATE node stands for each."""
    return sum(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())


def agreement(
    path: Path, feed: Mapping[str, Array], reference: Mapping[str, Array]
) -> tuple[float, float]:
    """Return the worst cosine and relative error of a file over its outputs.

    The file may hold any tensor channels-last, under any name. Where several ways to read it
    fit the shapes, the one that agrees best counts, so that no file is wronged.

    Args:
        path: The file.
        feed: Inputs of the source model by name.
        reference: Its outputs by name.

    Returns:
        (cosine, max error / max of the reference) of the worst output under the best reading.
    """
    interpreter = open_interpreter(path)
    best = (-1.0, float("inf"))
    for arrays in _readings(interpreter, feed):
        for details, array in zip(interpreter.get_input_details(), arrays, strict=True):
            interpreter.set_tensor(details["index"], array.astype(details["dtype"]))
        interpreter.reset_all_variables()
        interpreter.invoke()
        outputs = [interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()]
        best = max(best, _worst(outputs, reference), key=lambda pair: pair[0])
    return best


def _readings(interpreter: Interpreter, feed: Mapping[str, Array]) -> Iterator[tuple[Array, ...]]:
    """Yield the ways to give the inputs that fit the file's shapes; names first, then order."""
    details = interpreter.get_input_details()
    by_name = {_plain(name): array for name, array in feed.items()}
    names = [_plain(item["name"]) for item in details]
    arrays = [by_name.get(name) for name in names]
    if any(array is None for array in arrays):
        arrays = list(feed.values())
    choices = []
    for item, array in zip(details, arrays, strict=True):
        assert array is not None
        moved = [array]
        if array.ndim in CHANNELS_LAST:
            moved.insert(0, array.transpose(CHANNELS_LAST[array.ndim]))
        choices.append([each for each in moved if each.shape == tuple(item["shape"])])
    yield from itertools.product(*choices)


def _plain(name: str) -> str:
    """Return a tensor's name as ONNX had it: writers add ``:0`` and a signature's prefix."""
    name = name.removesuffix(":0").removeprefix("serving_default_")
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def _worst(outputs: list[Array], reference: Mapping[str, Array]) -> tuple[float, float]:
    """Match every reference to its best output; return the worst of those matches."""
    worst = (1.0, 0.0)
    for wanted in reference.values():
        best = (-1.0, float("inf"))
        for output in outputs:
            for perm in itertools.permutations(range(output.ndim)):
                moved = output.transpose(perm)
                if moved.shape != wanted.shape:
                    continue
                pair = (cosine(moved, wanted), relative_error(moved, wanted))
                best = max(best, pair, key=lambda each: each[0])
        worst = (min(worst[0], best[0]), max(worst[1], best[1]))
    return worst
