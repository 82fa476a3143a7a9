"""What TensorRT does with a quantized ONNX file, before a device is asked.

NVIDIA's parser refuses some graphs of Q/DQ pairs, and takes others that then run slowly or
lose accuracy without a word. Each rule names the node, says why it hurts, and carries the
repair where there is one.

To add a rule: a function ``(PairView) -> Iterator[Finding]`` in a file here, a line in
``RULES``, a model that has the fault and one that has not in ``tests/test_qdq_lint.py``, a
row in docs/tensorrt.md.

Source: TensorRT developer guide, "Working with Quantized Types" and its Q/DQ placement
recommendations; the parser's own messages (TensorRT-RTX 1.7.1).
"""

from __future__ import annotations

from edgekit.converters.qdq_lint.finding import SEVERITIES, Finding
from edgekit.converters.qdq_lint.lint import RULES, lint_qdq, repair

__all__ = ["RULES", "SEVERITIES", "Finding", "lint_qdq", "repair"]
