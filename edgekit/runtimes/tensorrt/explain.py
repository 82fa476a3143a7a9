"""NVIDIA's log lines in words: what went wrong, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.runtimes.tensorrt.patterns import DRIVER, PATTERNS, REBUILD, Pattern
from edgekit.runtimes.tensorrt.release import Release


@dataclass(frozen=True)
class Explanation:
    """What a log means.

    Args:
        cause: What went wrong, one clause.
        fix: What to do.
        node: ONNX node or layer that it is about, or None.
        line: The log line that told it.
        is_mismatch: Whether an engine is for another device or release.
    """

    cause: str
    fix: str
    node: str | None
    line: str
    is_mismatch: bool = False


# Release 11 writes "Node name: stem"; those before write the node as a protocol buffer.
_NODE = re.compile(
    r"Node name: (\S+)|Invalid Node - (\S+)"
    r"|\bname: \"([^\"]+)\"\s+op_type: |\[.*? -> \"([^\"]+)\"\]"
)


def explain(lines: Sequence[str], *, release: Release | None = None) -> Explanation | None:
    """Return what a log means, or None where nothing of it is known.

    Args:
        lines: Error lines, oldest first.
        release: The running one, for words that differ.
    """
    for pattern in PATTERNS:
        for line in lines:
            found = re.search(pattern.words, line, re.DOTALL)
            if found is not None:
                return _filled(pattern, found, line, lines, release)
    return None


def _filled(
    pattern: Pattern,
    found: re.Match[str],
    line: str,
    lines: Sequence[str],
    release: Release | None,
) -> Explanation:
    words = {name: text.strip() for name, text in found.groupdict().items() if text}
    number = words.get("number") or words.get("code") or ""
    words["driver"] = DRIVER.get(number, f"error {number}")
    fix = pattern.fix.format(**words)
    if release is not None and release.edition == "rtx":
        # An artifact for RTX holds its engine; a device does not build it.
        fix = fix.replace(
            REBUILD, "convert again for this GPU: edgekit convert --target tensorrt-rtx"
        )
    node = words.get("node") or words.get("layer") or node_of(lines)
    is_mismatch = pattern.fix == REBUILD
    return Explanation(pattern.cause.format(**words), fix, node, line, is_mismatch)


def node_of(lines: Sequence[str]) -> str | None:
    """Return the ONNX node that the parser was at, or None."""
    found = [match for line in lines for match in _NODE.finditer(line)]
    # A name beats the output that the line before it gives.
    found.sort(key=lambda match: match.lastindex == 4)
    return found[0][found[0].lastindex or 0] if found else None
