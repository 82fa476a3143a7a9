"""Write docs/conversion.md: every network, every target, held against ONNX Runtime.

    python scripts/write_conversion_table.py [--only NAME ...] [--skip-large] [--output FILE]

One process per network. With --only the table goes to standard output unless --output is
given. The exit status is 1 where a conversion fails or a cosine is below 0.99999.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from networks.subjects import Subject, pick_subjects  # noqa: E402

MIN_COSINE = 0.99999
# A constant output has cosine 1 whatever its size, so its size counts too.
MAX_RELATIVE_ERROR = 1e-3
LIMIT_S = 900
# UnsupportedOperatorError: the target cannot run a node, and says which.
REFUSED = "EK210"
PACKAGES = ("edgekit", "onnx", "onnxruntime", "openvino", "ai-edge-litert", "numpy")

INTRODUCTION = """# Which networks convert, and how closely they agree

Written by `{command}` on {date}; do not edit. {versions}; Python {python}, {machine}.

Every network is converted as it is, then ONNX Runtime on the *original* file and the
target's own runtime compute the same two seeded inputs in float32. *cosine* is the smallest
over all outputs and both inputs, *error* the largest absolute error over the largest
reference value. *parts* are the partitions that XNNPACK makes of the TFLite file (1 is
best: the whole network runs in it), *plain* is LiteRT without XNNPACK. *s* is the CPU time
of the conversion without verification. TensorRT's column is the ONNX that it will parse,
run by ONNX Runtime; the engine itself needs a GPU. A row is ok where every cosine is at
least {min_cosine} and every error at most {max_error:.0e}; TensorRT may refuse, by name.

Light models come from the onnx package: *shipped* ones compute all weights from constants,
the others have seeded random weights in the same graph. *trained* networks are published
models, kept beside the repository. All others are built by `tests/networks`, which also
settles their batch norms.
"""

COLUMNS = (
    "network",
    "nodes",
    "ONNX MB",
    "ok",
    "OpenVINO cosine",
    "error",
    "ops",
    "s",
    "TFLite cosine",
    "plain",
    "error",
    "ops",
    "transposes",
    "parts",
    "s",
    "TensorRT cosine",
    "s",
)


def main() -> int:
    """Run all conversions; 1 where one fails or disagrees."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--skip-large", action="store_true")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    output = arguments.output or (None if arguments.only else ROOT / "docs" / "conversion.md")

    rows = []
    for subject in pick_subjects(only=arguments.only, skip_large=arguments.skip_large):
        row = run_child(subject)
        rows.append(row)
        print(f"{'ok  ' if is_good(row) else 'FAIL'} {subject.name}", file=sys.stderr, flush=True)
    text = to_markdown(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    if output is None:
        print(text)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)
    return int(not all(map(is_good, rows)))


def run_child(subject: Subject) -> dict[str, Any]:
    """Return the row of one network; a crash becomes the row's error."""
    command = [sys.executable, str(ROOT / "scripts" / "conversion_row.py"), subject.name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return _failed(subject, f"took longer than {LIMIT_S} s")
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        words = done.stderr.strip().splitlines() or ["no output"]
        return _failed(subject, f"exit status {done.returncode}: {words[-1]}")
    row: dict[str, Any] = json.loads(lines[-1])
    return row


def _failed(subject: Subject, error: str) -> dict[str, Any]:
    return {
        "name": subject.name,
        "family": subject.family,
        "notes": subject.notes,
        "error": error,
        "targets": {},
    }


def is_good(row: dict[str, Any]) -> bool:
    """Return whether every target agrees with ONNX Runtime.

    A refusal by TensorRT counts as no failure: it is an answer, and a device has the others.
    """
    return bool(row["targets"]) and all(
        is_close(outcome) or (name == "tensorrt" and outcome["error"].startswith(REFUSED))
        for name, outcome in row["targets"].items()
    )


def is_close(outcome: dict[str, Any]) -> bool:
    """Return whether one target ran and agrees, on every way to run it."""
    plain = outcome["plain_cosine"]
    return (
        not outcome["error"]
        and outcome["cosine"] >= MIN_COSINE
        and outcome["relative_error"] <= MAX_RELATIVE_ERROR
        and (plain is None or plain >= MIN_COSINE)
    )


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the whole document."""
    command = shlex.join(["python", "scripts/write_conversion_table.py", *sys.argv[1:]])
    text = INTRODUCTION.format(
        command=command,
        date=datetime.date.today().isoformat(),
        versions=", ".join(f"{name} {version(name)}" for name in PACKAGES),
        python=platform.python_version(),
        machine=_machine(),
        min_cosine=MIN_COSINE,
        max_error=MAX_RELATIVE_ERROR,
    )
    good = sum(map(is_good, rows))
    text += f"\n**{good} of {len(rows)} networks are ok.**\n"
    families = list(dict.fromkeys(row["family"] for row in rows))
    for family in families:
        text += f"\n## {family[:1].upper()}{family[1:]}\n\n{_table(rows, family)}"
    problems = [
        f"- **{row['name']}**, {target}: {error}\n"
        for row in rows
        for target, error in _errors(row)
    ]
    if problems:
        text += "\n## What failed or was refused\n\n" + "".join(problems)
    return text


def _table(rows: list[dict[str, Any]], family: str) -> str:
    text = f"| {' | '.join(COLUMNS)} |\n| --- |{' ---: |' * (len(COLUMNS) - 1)}\n"
    for row in rows:
        if row["family"] == family:
            text += f"| {' | '.join(_cells(row))} |\n"
    noted = [row for row in rows if row["family"] == family and row["notes"]]
    notes = "; ".join(f"*{row['name']}*: {row['notes']}" for row in noted)
    if noted and len({row["notes"] for row in noted}) == 1:
        notes = f"All: {noted[0]['notes']}"
    return f"{text}\n{notes}.\n" if notes else text


def _cells(row: dict[str, Any]) -> list[str]:
    targets = row["targets"]
    if not targets:
        return [row["name"], *["-"] * 2, "no", *["-"] * (len(COLUMNS) - 4)]
    cells = [row["name"], str(row["nodes"]), f"{row['onnx_mb']:.1f}"]
    cells.append("yes" if is_good(row) else "**no**")
    openvino, tflite, tensorrt = (targets[name] for name in ("openvino", "tflite", "tensorrt"))
    cells += _figures(openvino, ("cosine", "relative_error", "operators", "seconds"))
    cells += _figures(
        tflite,
        (
            "cosine",
            "plain_cosine",
            "relative_error",
            "operators",
            "transposes",
            "partitions",
            "seconds",
        ),
    )
    return cells + _figures(tensorrt, ("cosine", "seconds"))


def _figures(outcome: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    return ["-" if outcome["error"] else _FORMATS[name](outcome[name]) for name in names]


def _cosine(value: float) -> str:
    text = f"{value:.7f}"
    return text if value >= MIN_COSINE else f"**{text}**"


_FORMATS = {
    "cosine": _cosine,
    "plain_cosine": _cosine,
    "relative_error": lambda value: f"{value:.0e}",
    "operators": str,
    "transposes": str,
    "partitions": str,
    "seconds": lambda value: f"{value:.2f}",
}


def _errors(row: dict[str, Any]) -> list[tuple[str, str]]:
    if not row["targets"]:
        return [("all", row["error"])]
    return [
        (name, outcome["error"]) for name, outcome in row["targets"].items() if outcome["error"]
    ]


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} cores of {models[0]}" if models else platform.machine()


if __name__ == "__main__":
    raise SystemExit(main())
