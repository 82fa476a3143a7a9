"""Cost of converting to TFLite: this project's command against onnx2tf's, whole processes.

    python benchmarks/convert_tflite.py --work OUT [--only NAME ...] [--rounds 3]

Each round runs every variant once, one after the other, so that a busy moment hits all.
``cpu`` is user and system time of the process and its children, ``peak`` the largest
resident set of one process. The files stay in OUT, where tflite_latency.py takes them up;
the figures go to OUT/convert_tflite.json and, as Markdown, to standard output.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from networks.subjects import Subject, pick_subjects  # noqa: E402

from benchmarks.peer import (  # noqa: E402
    VARIABLE,
    find_peer,
    peer_command,
    peer_environment,
    peer_version,
)
from benchmarks.process_cost import Cost, measure  # noqa: E402

VARIANTS = ("ours", "ours_verified", "peer", "peer_verified")


def main() -> int:
    """Run the benchmark; 1 where a conversion of ours fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for files and figures")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--skip-large", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    arguments = parser.parse_args()
    python = find_peer()
    if python is None and any(name.startswith("peer") for name in arguments.variants):
        parser.error(f"{VARIABLE} names no Python with onnx2tf in it")

    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for subject in pick_subjects(only=arguments.only, skip_large=arguments.skip_large):
        print(f"{subject.name} ...", file=sys.stderr, flush=True)
        rows.append(
            run_subject(subject, arguments.work, arguments.variants, arguments.rounds, python)
        )
        report = {
            "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "peer": None if python is None else f"onnx2tf {peer_version(python)}",
            "rounds": arguments.rounds,
            "rows": rows,
        }
        (arguments.work / "convert_tflite.json").write_text(json.dumps(report, indent=1))
    print(to_markdown(rows))
    return int(any(row["costs"].get("ours", {}).get("status", 0) for row in rows))


def run_subject(
    subject: Subject, work: Path, variants: list[str], rounds: int, python: Path | None
) -> dict[str, Any]:
    """Convert one network ``rounds`` times in every variant; return medians."""
    folder = work / subject.name
    folder.mkdir(parents=True, exist_ok=True)
    model = subject.write(folder)
    runs: dict[str, list[Cost]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name in variants:
            runs[name].append(convert(name, subject, model, folder, python))
    costs = {name: summarise(each) for name, each in runs.items()}
    return {"name": subject.name, "onnx_mb": model.stat().st_size / 2**20, "costs": costs}


def convert(variant: str, subject: Subject, model: Path, folder: Path, python: Path | None) -> Cost:
    """Run one converter once on one model."""
    output, log = folder / variant, folder / f"{variant}.log"
    shutil.rmtree(output, ignore_errors=True)
    verified = variant.endswith("_verified")
    if variant.startswith("peer"):
        assert python is not None
        command = peer_command(python, model, output, verify=verified, shapes=subject.shapes)
        return measure(command, log=log, env=peer_environment(python))
    command = [sys.executable, "-m", "edgekit", "convert", str(model), "--target", "tflite"]
    command += ["-o", str(output), "--folder", *subject.shape_arguments()]
    return measure(command if verified else [*command, "--no-verify"], log=log)


def summarise(runs: list[Cost]) -> dict[str, Any]:
    """Return the medians, and the last run's status and words."""
    figures = ("wall_s", "cpu_s", "peak_mb", "tree_peak_mb")
    medians = {name: statistics.median(asdict(run)[name] for run in runs) for name in figures}
    failed = next((run for run in runs if run.status), runs[-1])
    return {**medians, "status": failed.status, "tail": failed.tail if failed.status else ""}


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table: seconds and MB of each variant, and ours over the peer's."""
    lines = [
        "| network | ONNX MB | ours: cpu s / MB | with verification | onnx2tf: cpu s / MB "
        "| with its check | time ratio | memory ratio | both checked: time, memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        costs = row["costs"]
        cells = [_cost(costs.get(name)) for name in VARIANTS]
        plain = [_ratio(costs, "ours", "peer", figure) for figure in ("cpu_s", "peak_mb")]
        checked = [
            _ratio(costs, "ours_verified", "peer_verified", figure)
            for figure in ("cpu_s", "peak_mb")
        ]
        words = [row["name"], f"{row['onnx_mb']:.1f}", *cells, *plain, ", ".join(checked)]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)


def _cost(cost: dict[str, Any] | None) -> str:
    if cost is None:
        return "-"
    mark = " (failed)" if cost["status"] else ""
    return f"{cost['cpu_s']:.2f} / {cost['peak_mb']:.0f}{mark}"


def _ratio(costs: dict[str, Any], ours: str, peer: str, figure: str) -> str:
    if ours not in costs or peer not in costs or costs[ours]["status"] or costs[peer]["status"]:
        return "-"
    return f"{costs[ours][figure] / costs[peer][figure]:.2f}x"


if __name__ == "__main__":
    raise SystemExit(main())
