"""Write docs/operators.md: which ONNX operators become TFLite builtins, and why others do not.

    python scripts/write_operator_table.py [--output FILE]

Runs every backend node test of the installed onnx package in LiteRT, in about a minute on
one core. The exit status is 1 where a result is wrong.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from onnx_node_cases import (  # noqa: E402
    NOT_APPLICABLE,
    PASSED,
    REFUSED,
    SEVERAL_NODES,
    WRONG,
    Outcome,
    node_cases,
    outcomes,
)

PACKAGES = ("edgekit", "onnx", "onnxruntime", "ai-edge-litert", "numpy")
LONGEST_REASON = 100

INTRODUCTION = """# Which ONNX operators run on TFLite

Written by `python scripts/write_operator_table.py` on {date}; do not edit. {versions};
Python {python}, {machine}.

Every backend node test of the ONNX project is converted twice, as it is and with all inputs
but the first turned into constants (as trained models have their weights, axes and shapes).
*passed*: LiteRT gives the ONNX project's expected output, with XNNPACK and without it (rtol
1e-3, atol 1e-5). *refused*: `edgekit convert` says which node, and why; the most frequent
reason is in the last column, without the names and sizes of the test. Tests with sequences,
optional values or maps are left out. Wrong results: {wrong}.

Many tests use element types that TFLite's kernels do not take (float16, float64, 4-bit and
16-bit integers, strings), so an operator that is refused there may well run in float32.
"{several}" are operators that ONNX defines as functions, written out in other operators.

{passed} passed and {refused} refused of {total}; {running} of {operators} operators pass at
least one test.

| operator | passed | refused | main reason of refusal |
| --- | --: | --: | --- |
"""


def write_table(results: Iterable[Outcome]) -> str:
    """Return the page."""
    tally: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in results:
        if outcome.kind == NOT_APPLICABLE:
            continue
        tally[outcome.operator][outcome.kind] += 1
        if outcome.kind == REFUSED:
            reasons[outcome.operator][_in_general(outcome)] += 1
    total = sum(tally.values(), Counter())
    rows = []
    for operator in sorted(tally, key=lambda name: (name == SEVERAL_NODES, "." in name, name)):
        counts = tally[operator]
        reason = reasons[operator].most_common(1)[0][0] if counts[REFUSED] else ""
        rows.append(f"| {operator} | {counts[PASSED]} | {counts[REFUSED]} | {reason} |")
    names = [name for name in tally if name != SEVERAL_NODES]
    head = INTRODUCTION.format(
        date=datetime.datetime.now(tz=datetime.timezone.utc).date(),
        versions=", ".join(f"{name} {version(name)}" for name in PACKAGES),
        python=platform.python_version(),
        machine=platform.machine(),
        several=SEVERAL_NODES,
        wrong=total[WRONG],
        passed=total[PASSED],
        refused=total[REFUSED],
        total=sum(total.values()),
        running=sum(tally[name][PASSED] > 0 for name in names),
        operators=len(names),
    )
    return head + "\n".join(rows) + "\n"


def _in_general(outcome: Outcome) -> str:
    """Return the reason without what is particular to the case."""
    reason = outcome.reason.removeprefix(f"{outcome.operator}: ")
    reason = reason.split(";")[0]
    reason = re.sub(r"\b(input|output) '[^']*' ", r"its \1 ", reason)
    reason = reason.replace(
        "EdgeKit has no lowering of this operator to TFLite builtins", "no lowering"
    )
    reason = " ".join(reason.split()).replace("|", "\\|")
    return reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 1]}…"


def main() -> int:
    """Write the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "operators.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = list(outcomes(node_cases(), Path(folder)))
    options.output.write_text(write_table(results), encoding="utf-8")
    wrong = [outcome for outcome in results if outcome.kind == WRONG]
    for outcome in wrong:
        print(f"{outcome.case} ({outcome.variant}): {outcome.reason}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
