"""The ONNX project's own backend node tests, tried on LiteRT.

Each case is a small model with inputs and the outputs that the project's reference gives.
It is tried as it is, and with all inputs but the first turned into constants, as trained
models have their weights, axes and shapes.
"""

from __future__ import annotations

import functools
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from litert_runs import RESOLVERS, run_artifact
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from edgekit.converters.emitters.tflite import emit
from edgekit.converters.onnx_model import graph_from_bytes
from edgekit.converters.passes import simplify
from edgekit.errors import EdgeKitError, UnsupportedOperatorError
from edgekit.target import TARGETS

PASSED, REFUSED, NOT_APPLICABLE, WRONG = "passed", "refused", "not applicable", "wrong"
# The ONNX project compares with rtol 1e-3 and atol 1e-7; a float32 sum of a few hundred terms
# near 1 that cancels to about 0 is off by 1e-6 in any other order of summation.
RTOL, ATOL = 1e-3, 1e-5
SEVERAL_NODES = "(several nodes)"


@dataclass(frozen=True)
class NodeCase:
    """One model of the ONNX project with inputs and expected outputs.

    Args:
        name: As the ONNX project calls it, ``"test_relu"``.
        operator: The tested operator; ``SEVERAL_NODES`` for functions written out.
        model: Its model.
        feeds: Arrays in the order of the model's inputs; other objects for sequences.
        expected: Likewise for the outputs.
    """

    name: str
    operator: str
    model: onnx.ModelProto
    feeds: tuple[Any, ...]
    expected: tuple[Any, ...]

    @property
    def has_tensors_only(self) -> bool:
        """Whether no input or output is a sequence, an optional or a map."""
        return all(isinstance(item, np.ndarray) for item in (*self.feeds, *self.expected))

    def with_constants(self) -> onnx.ModelProto:
        """Return the model with all inputs but the first turned into constants."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        inputs = list(model.graph.input)
        for value, array in list(zip(inputs, self.feeds, strict=True))[1:]:
            model.graph.initializer.append(numpy_helper.from_array(array, value.name))
        del model.graph.input[1:]
        return model


@dataclass(frozen=True)
class Outcome:
    """What became of one model.

    Args:
        case: Name of the case.
        operator: See ``NodeCase``.
        variant: ``"as given"`` or ``"constants"``.
        kind: ``PASSED``, ``REFUSED``, ``NOT_APPLICABLE`` or ``WRONG``.
        reason: Why it was refused, or what is wrong.
    """

    case: str
    operator: str
    variant: str
    kind: str
    reason: str = ""


@functools.cache
def node_cases() -> tuple[NodeCase, ...]:
    """Return all cases of the installed onnx package that come with data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # computing some expected values overflows on purpose
        loaded = load_model_tests(kind="node")
    return tuple(_node_case(case) for case in loaded if case.data_sets)


def _node_case(case: Any) -> NodeCase:
    feeds, expected = (tuple(map(_array, items)) for items in case.data_sets[0])
    nodes = case.model.graph.node
    operator = SEVERAL_NODES if len(nodes) > 1 else f"{_prefix(nodes[0])}{nodes[0].op_type}"
    return NodeCase(case.name, operator, case.model, feeds, expected)


def _prefix(node: onnx.NodeProto) -> str:
    return f"{node.domain}." if node.domain else ""


def _array(item: Any) -> Any:
    if isinstance(item, np.generic):
        return np.asarray(item)
    return numpy_helper.to_array(item) if isinstance(item, onnx.TensorProto) else item


def chunk(index: int, *, count: int) -> tuple[NodeCase, ...]:
    """Return every case whose name falls into that of ``count`` chunks; always the same."""
    return tuple(case for case in node_cases() if zlib.crc32(case.name.encode()) % count == index)


def outcomes(cases: Sequence[NodeCase], folder: Path) -> Iterator[Outcome]:
    """Yield what becomes of each case, as given and with constants."""
    for case in cases:
        for variant, model in (("as given", case.model), ("constants", None)):
            if not case.has_tensors_only:
                yield Outcome(case.name, case.operator, variant, NOT_APPLICABLE)
                continue
            kind, reason = _try(case, model or case.with_constants(), folder)
            yield Outcome(case.name, case.operator, variant, kind, reason)


def _try(case: NodeCase, model: onnx.ModelProto, folder: Path) -> tuple[str, str]:
    try:
        graph = simplify(graph_from_bytes(model.SerializeToString()))
        artifact = emit(graph, folder, target=TARGETS["tflite"])
    except EdgeKitError as error:
        return _judge_refusal(error)
    except Exception as error:  # noqa: BLE001 a crash of the converter is a finding
        return WRONG, f"converter: {error!r}"
    names = [value.name for value in case.model.graph.input]
    feeds = dict(zip(names, case.feeds, strict=True))
    expected = dict(
        zip((value.name for value in case.model.graph.output), case.expected, strict=True)
    )
    for label, resolver in RESOLVERS.items():
        try:
            results = run_artifact(folder, artifact, feeds, resolver=resolver)
        except Exception as error:  # noqa: BLE001 LiteRT raises RuntimeError and ValueError
            return WRONG, f"LiteRT, {label}: {error}"
        for name, wanted in expected.items():
            fault = difference(results[name], wanted)
            if fault:
                return WRONG, f"{name}, {label}: {fault}"
    return PASSED, ""


def _judge_refusal(error: EdgeKitError) -> tuple[str, str]:
    if isinstance(error, UnsupportedOperatorError):
        if not (error.node and error.op_type and error.reason and error.node in str(error)):
            return WRONG, f"a refusal without node or reason: {error}"
        return REFUSED, f"{error.op_type}: {error.reason}"
    if error.code == EdgeKitError.code:
        return WRONG, f"a refusal without a code of its own: {error!r}"
    return REFUSED, str(error)


def difference(got: NDArray[Any], wanted: NDArray[Any]) -> str:
    """Return what is wrong with a result; empty where it is right."""
    if (got.shape, got.dtype) != (wanted.shape, wanted.dtype):
        return f"{got.dtype}{got.shape}, expected {wanted.dtype}{wanted.shape}"
    if np.allclose(got, wanted, rtol=RTOL, atol=ATOL, equal_nan=True):
        return ""
    return f"off by {np.abs(got.astype(np.float64) - wanted.astype(np.float64)).max()}"
