"""What each version of the standard operator set says of an operator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import onnx


@dataclass(frozen=True)
class Signature:
    """One version of a standard operator.

    Args:
        since: Operator set in which this version appeared.
        attributes: Names that it knows.
        max_inputs: How many inputs it takes at most.
    """

    since: int
    attributes: frozenset[str]
    max_inputs: int


@lru_cache(maxsize=1024)
def signature(op_type: str, opset: int) -> Signature | None:
    """Return the operator as that operator set has it, None where it has none."""
    if not onnx.defs.has(op_type, opset, ""):
        return None
    schema = onnx.defs.get_schema(op_type, opset, "")
    if schema.deprecated:
        return None
    return Signature(schema.since_version, frozenset(schema.attributes), schema.max_input)


def is_function(op_type: str) -> bool:
    """Whether the newest version of the standard operator is defined by other operators."""
    if not onnx.defs.has(op_type, ""):
        return False
    schema = onnx.defs.get_schema(op_type, "")
    return bool(schema.has_function or schema.has_context_dependent_function)
