"""Operator by operator: the ONNX project's node tests pass in LiteRT, or are refused by name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest

pytest.importorskip("ai_edge_litert")
from onnx_node_cases import NOT_APPLICABLE, PASSED, REFUSED, WRONG, chunk, outcomes

# Variants that pass, per chunk; a change of the lowering may only raise them.
# Other versions of onnx hold other cases, so there only wrong results count.
MEASURED_WITH = "1.23.2"
FEWEST_PASSED = (161, 177, 206, 182, 190, 198, 179, 217)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(FEWEST_PASSED)))
def test_every_node_case_passes_or_is_refused_by_name(index: int, tmp_path: Path) -> None:
    cases = chunk(index, count=len(FEWEST_PASSED))

    seen = list(outcomes(cases, tmp_path))

    counts = Counter(outcome.kind for outcome in seen)
    wrong = [f"{o.case} ({o.variant}): {o.reason}" for o in seen if o.kind == WRONG]
    assert not wrong, "\n".join(wrong)
    assert set(counts) <= {PASSED, REFUSED, NOT_APPLICABLE}
    if onnx.__version__ == MEASURED_WITH:
        assert counts[PASSED] >= FEWEST_PASSED[index], counts
