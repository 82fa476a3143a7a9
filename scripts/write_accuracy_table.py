"""Write docs/accuracy.md: what int8 costs, measured, on trained networks and real data.

    python scripts/write_accuracy_table.py [--only NAME ...] [--time SECONDS] [--output FILE]

With --only the table goes to standard output unless --output is given. A network whose files or
converter are not here is left out, with the reason on standard error: ResNet-8 needs
EDGEKIT_TF_PYTHON (benchmarks/keras_to_onnx.py), EfficientNet-Lite0 EDGEKIT_EFFICIENTNET_LITE0
(tests/networks/efficientnet.py).
"""

from __future__ import annotations

import argparse
import datetime
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from accuracy_cases import CASES, ROOT, TARGETS, Case

from edgekit.bundle import Contract
from edgekit.cli.terms import duration
from edgekit.errors import ContractError
from edgekit.pipeline import convert
from edgekit.preprocess import Preprocess

PACKAGES = ("edgekit", "onnxruntime", "openvino", "ai-edge-litert", "numpy")
COLUMNS = (
    "network",
    "metric",
    "float",
    "OpenVINO",
    "LiteRT",
    "ONNX Runtime",
    "TensorRT*",
    "spread",
)
ARTIFACTS = ("openvino-int8", "tflite-int8", "onnx-int8", "tensorrt-int8")

INTRODUCTION = """# What int8 costs

Written by `{command}` on {date}; do not edit. {versions}; {machine}, {cores} cores.

Each network is converted to int8 for four targets under a promise
([contract.md](contract.md)), and its metric is measured on each target's own runtime over the
same samples. *float* is the float model in ONNX Runtime; *spread* the difference between the
best and the worst of OpenVINO, LiteRT and ONNX Runtime, in points (hundredths).
*TensorRT is simulated: its graph of Q/DQ pairs in ONNX Runtime. `agreement` has the float
model's answers as labels.
"""


@dataclass(frozen=True)
class Row:
    """What came of one network; ``contract`` is None where the promise was refused."""

    case: Case
    promise: str
    seconds: float
    contract: Contract | None = None
    refusal: str = ""


def main() -> int:
    """Run all; 1 where a promise was refused."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--time", type=duration, default=600.0, help="for each search")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    names = arguments.only or [case.name for case in CASES]
    rows = [_run(case, arguments.time) for case in _able(names)]
    text = to_markdown(rows)
    output = arguments.output or (None if arguments.only else ROOT / "docs" / "accuracy.md")
    if output is None:
        print(text)
    else:
        output.write_text(text, encoding="utf-8")
    return int(any(row.contract is None for row in rows))


def _able(names: list[str]) -> Iterator[Case]:
    """Yield the cases of these names that can run here; tell why another cannot."""
    for case in CASES:
        if case.name not in names:
            continue
        reason = case.reason_to_skip()
        if reason:
            print(f"{case.name} is left out: {reason}", file=sys.stderr, flush=True)
        else:
            yield case


def _run(case: Case, limit_s: float) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        job = case.prepare(Path(folder))
        terms = replace(job.terms, time_s=limit_s)
        start = time.monotonic()
        try:
            result = convert(
                job.model,
                targets=TARGETS,
                output=Path(folder, "model.edgekit"),
                preprocess={"": Preprocess.parse(job.preprocess)},
                labels=job.labels,
                shapes=job.shapes or None,
                terms=terms,
                progress=lambda stage: print(f"{case.name}: {stage}", file=sys.stderr, flush=True),
            )
        except ContractError as error:
            seconds = time.monotonic() - start
            return Row(case, str(terms.promise), seconds, refusal=str(error))
        seconds = time.monotonic() - start
        return Row(case, str(terms.promise), seconds, result.bundle.manifest.contract)


def to_markdown(rows: list[Row]) -> str:
    """Return the whole document."""
    text = INTRODUCTION.format(
        command=shlex.join(["python", "scripts/write_accuracy_table.py", *_shown(sys.argv[1:])]),
        date=datetime.date.today().isoformat(),
        versions=", ".join(f"{name} {version(name)}" for name in PACKAGES),
        machine=_processor(),
        cores=len(_cpuinfo("processor")),
    )
    text += f"\n| {' | '.join(COLUMNS)} |\n|---|---|{'---:|' * (len(COLUMNS) - 2)}\n"
    for row in rows:
        text += f"| {' | '.join(_cells(row))} |\n"
    return text + "".join(_details(row) for row in rows)


def _shown(words: list[str]) -> list[str]:
    """Return the words of the command without where it wrote to."""
    return [
        word
        for index, word in enumerate(words)
        if "--output" not in (word, words[index - 1] if index else "")
    ]


def _cells(row: Row) -> list[str]:
    contract = row.contract
    if contract is None:
        return [row.case.name, f"promise of {row.promise} refused", *["-"] * (len(COLUMNS) - 2)]
    values = {figure.artifact: figure.value for figure in contract.figures}
    measured = [values[name] for name in ARTIFACTS[:3]]
    return [
        row.case.name,
        contract.metric,
        f"{contract.baseline:.4f}",
        *(f"{values[name]:.4f}" for name in ARTIFACTS),
        f"{100 * (max(measured) - min(measured)):.2f}",
    ]


def _details(row: Row) -> str:
    text = f"\n## {row.case.name}\n\n{row.case.about[:1].upper()}{row.case.about[1:]}. "
    if row.contract is None:
        return f"{text}Took {row.seconds:.0f} s.\n\n```\n{row.refusal}\n```\n"
    contract = row.contract
    nodes = max((len(item) for item in (contract.float_nodes or {}).values()), default=0)
    text += (
        f"Promise: {row.promise}, on {contract.samples}. Kept after {len(contract.steps)} step(s) "
        f"and {row.seconds:.0f} s by {contract.recipe}"
        + (f" ({nodes} nodes in float).\n\n" if nodes else ".\n\n")
    )
    return text + "".join(f"- {line}\n" for line in contract.advice)


def _processor() -> str:
    return next(iter(_cpuinfo("model name")), platform.machine())


def _cpuinfo(key: str) -> list[str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line.partition(":")[2].strip() for line in lines if line.startswith(key)]


if __name__ == "__main__":
    raise SystemExit(main())
