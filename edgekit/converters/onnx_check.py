"""What a model must satisfy before anything is done with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import onnx
from onnx import checker

from edgekit.errors import ModelFormatError, UnsupportedOperatorError

logger = logging.getLogger(__name__)

MIN_OPSET = 7
HUB_OPSET = 18
"""Older models are raised to it; newer ones are kept as they are."""
TESTED_OPSET = 20
"""Up to here every emitter knows the operators' newest meaning."""

NATIVE_ERRORS = (RuntimeError, ValueError, IndexError, TypeError)
"""What onnx's native code raises beside its own error types."""


def check_opsets(opsets: dict[str, int], source: str) -> None:
    """Refuse operator set versions that onnx cannot raise or does not know.

    Raises:
        ModelFormatError: The standard operator set is too old or too new.
    """
    version = opsets.get("", 0)
    newest = onnx.defs.onnx_opset_version()
    if version > newest:
        raise ModelFormatError(
            f"{source} uses opset {version}; onnx {onnx.__version__} knows up to {newest}; "
            "update onnx or export the model with an older opset"
        )
    if 0 < version < MIN_OPSET:
        raise ModelFormatError(
            f"{source} uses opset {version}; opset {MIN_OPSET} or later is needed; "
            f"export the model again, best with opset {HUB_OPSET}"
        )
    if version > TESTED_OPSET:
        logger.warning(
            "%s uses opset %d; opsets up to %d are tested, newer operators may be refused",
            source,
            version,
            TESTED_OPSET,
        )


def check_operators(graph: Any, opsets: dict[str, int]) -> None:
    """Refuse operators that are not standard ONNX.

    Raises:
        UnsupportedOperatorError: A node's domain or operator is unknown.
    """
    for node, op_type, domain in _operators(graph):
        version = opsets.get(domain)
        if version is not None and onnx.defs.has(op_type, version, domain):
            continue
        known = onnx.defs.has(op_type, domain)
        where = f"opset {version}" if not domain else f"domain {domain!r}"
        raise UnsupportedOperatorError(
            node=node,
            op_type=op_type if not domain else f"{domain}.{op_type}",
            reason=f"{where} has no such operator"
            + ("; the model declares the wrong opset" if known else "")
            + "; export the model with standard ONNX operators only",
            target="edgekit",
        )


def _operators(graph: Any) -> Iterator[tuple[str, str, str]]:
    """Yield (name, operator, domain) of every node, nested graphs included."""
    for node in graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        yield node.name or next(iter(node.output), ""), node.op_type, domain
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _operators(inner)


def check_model(model: Any, *, source: str) -> None:
    """Run onnx's own checker.

    Raises:
        ModelFormatError: It found something; its text is kept.
    """
    # The checker wants the rank of every output; engines do not, and some outputs have none.
    types = [item.type for item in model.graph.output if item.type.HasField("tensor_type")]
    shapeless = [kind.tensor_type for kind in types if not kind.tensor_type.HasField("shape")]
    for tensor in shapeless:
        tensor.shape.SetInParent()
    try:
        checker.check_model(model)
    except (checker.ValidationError, *NATIVE_ERRORS) as error:
        raise ModelFormatError(f"{source} is not valid ONNX: {first_lines(error)}") from error
    finally:
        for tensor in shapeless:
            tensor.ClearField("shape")


def first_lines(error: BaseException) -> str:
    """Return a native error's text on one line, cut where it is very long."""
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return text[:500] or type(error).__name__
