"""Latency of TFLite files under LiteRT: this project's against onnx2tf's, in one process.

    python benchmarks/convert_tflite.py --work OUT          # writes the files
    python benchmarks/tflite_latency.py --work OUT [--only NAME ...] [--seconds 2]

The two files of a network run in turn, one call each, one thread, the default delegate;
*ratio* is the median over the rounds of our time by theirs in the same round. Inputs are
set before the clock starts. Operators, TRANSPOSEs and the parts that XNNPACK takes are
counted in both, and both are held against ONNX Runtime: a fast wrong file is marked.
Figures go to OUT/tflite_latency.json and, as Markdown, to standard output.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime as ort  # noqa: E402
from ai_edge_litert.interpreter import Interpreter  # noqa: E402
from networks.subjects import Subject, pick_subjects  # noqa: E402

from benchmarks.litert_facts import agreement, open_interpreter, read_facts  # noqa: E402
from benchmarks.peer import peer_file  # noqa: E402

MIN_COSINE = 0.99999
# A constant output has cosine 1 whatever its size, so its size counts too.
MAX_RELATIVE_ERROR = 1e-3
WARM_UP = 3
MIN_ROUNDS = 10


def main() -> int:
    """Run the benchmark; 1 where a file of ours is wrong or missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="convert_tflite.py's folder")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--skip-large", action="store_true")
    parser.add_argument("--seconds", type=float, default=2.0, help="per network")
    arguments = parser.parse_args()

    rows = []
    for subject in pick_subjects(only=arguments.only, skip_large=arguments.skip_large):
        files = find_files(arguments.work / subject.name)
        if not files:
            continue
        print(f"{subject.name} ...", file=sys.stderr, flush=True)
        rows.append(run_subject(subject, files, arguments.work, arguments.seconds))
        report = {"litert": version("ai-edge-litert"), "threads": 1, "rows": rows}
        (arguments.work / "tflite_latency.json").write_text(json.dumps(report, indent=1))
    print(to_markdown(rows))
    return int(any(is_wrong(row.get("ours")) for row in rows))


def find_files(folder: Path) -> dict[str, Path]:
    """Return the file of each converter that made one."""
    ours = next(iter(sorted((folder / "ours").rglob("*.tflite"))), None)
    found = {"ours": ours, "peer": peer_file(folder / "peer")}
    return {name: path for name, path in found.items() if path is not None}


def run_subject(
    subject: Subject, files: dict[str, Path], work: Path, seconds: float
) -> dict[str, Any]:
    """Count, check and time the files of one network."""
    row: dict[str, Any] = {"name": subject.name}
    model = onnx.load(subject.write(work / subject.name))
    feed = subject.inputs(model, seed=2)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    reference = subject.judge(dict(zip(names, session.run(None, feed), strict=True)))
    del session, model
    for name, path in files.items():
        facts = read_facts(path)
        row[name] = asdict(facts)
        if not facts.error:
            row[name]["cosine"], row[name]["relative_error"] = agreement(path, feed, reference)
    running = {name: open_interpreter(files[name]) for name in files if not row[name]["error"]}
    times = time_in_turn(running, seconds)
    for name, times_ms in times.items():
        row[name]["median_ms"] = statistics.median(times_ms)
        row[name]["min_ms"] = min(times_ms)
    if len(times) == 2:
        # Both of a round see the same load, so their ratio is steadier than that of medians.
        rounds = zip(times["ours"], times["peer"], strict=True)
        row["ratio"] = statistics.median(ours / peer for ours, peer in rounds)
        row["rounds"] = len(times["ours"])
    return row


def time_in_turn(running: dict[str, Interpreter], seconds: float) -> dict[str, list[float]]:
    """Return the milliseconds of every invoke(), the interpreters taking turns."""
    rng = np.random.default_rng(0)
    for interpreter in running.values():
        for item in interpreter.get_input_details():
            values = rng.random(item["shape"]).astype(item["dtype"])
            interpreter.set_tensor(item["index"], values)
        for _ in range(WARM_UP):
            interpreter.invoke()
    times: dict[str, list[float]] = {name: [] for name in running}
    deadline = time.perf_counter() + seconds
    rounds = 0
    while running and (rounds < MIN_ROUNDS or time.perf_counter() < deadline):
        # Turns swap, because the second finds caches that the first has emptied.
        order = list(running.items())
        for name, interpreter in order if rounds % 2 else reversed(order):
            start = time.perf_counter()
            interpreter.invoke()
            times[name].append(1e3 * (time.perf_counter() - start))
        rounds += 1
    return times


def is_wrong(facts: dict[str, Any] | None) -> bool:
    """Return whether a file is missing, does not load or computes something else."""
    return (
        facts is None
        or facts.get("cosine", -1.0) < MIN_COSINE
        or facts["relative_error"] > MAX_RELATIVE_ERROR
    )


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table; a file that does not load or is wrong says so in its cell."""
    lines = [
        "| network | ours: ops / transposes / parts | median / min ms | onnx2tf: ops / transposes "
        "/ parts | median / min ms | its numbers | ratio |",
        "| --- | --- | ---: | --- | ---: | --- | ---: |",
    ]
    for row in rows:
        ours, peer = row.get("ours"), row.get("peer")
        ratio = f"{row['ratio']:.2f}x" if "ratio" in row else "-"
        words = [row["name"], *_cells(ours), *_cells(peer), _verdict(peer), ratio]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)


def _cells(facts: dict[str, Any] | None) -> tuple[str, str]:
    if facts is None:
        return "no file", "-"
    if facts["error"]:
        return f"does not load ({facts['customs']} custom operators)", "-"
    counts = f"{facts['operators']} / {facts['transposes']} / {facts['partitions']}"
    figures = f"cosine {facts['cosine']:.4f}, error {facts['relative_error']:.0e}"
    wrong = f" **wrong: {figures}**" if is_wrong(facts) else ""
    return counts + wrong, f"{facts['median_ms']:.3f} / {facts['min_ms']:.3f}"


def _verdict(facts: dict[str, Any] | None) -> str:
    if facts is None or facts["error"]:
        return "-"
    return "wrong" if is_wrong(facts) else f"right ({facts['relative_error']:.0e})"


if __name__ == "__main__":
    raise SystemExit(main())
