"""int8 of a detector: this project's, NNCF's, and the file that its authors ship.

    python3 -m venv NNCF && NNCF/bin/pip install nncf==3.4.0 openvino
    export EDGEKIT_NNCF_PYTHON=NNCF/bin/python
    python benchmarks/detector_int8.py --work OUT [--samples 64] [--seconds 20]

YOLOX-nano, calibrated on ImageNet photos and judged on others and on COCO's: mAP (IoU 0.5 to
0.95) of the boxes against those of the float model with a score of 0.3 and more. Ours is the
first recipe of ``edgekit convert``, no search; NNCF's are the defaults of ``nncf.quantize``, on
the same photos. All of a runtime run in turn in one process, one thread, computing in float32
where they compute in float; times are CPU time of the whole call. Figures go to
OUT/detector_int8.json and, as Markdown, to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from benchmarks.int8_openvino import VARIABLE, run_peer  # noqa: E402
from benchmarks.tflite_int8 import SHIPPED, Source  # noqa: E402
from edgekit.bundle import Bundle  # noqa: E402
from edgekit.calibration.samples import open_samples  # noqa: E402
from edgekit.converters.passes import simplify  # noqa: E402
from edgekit.pipeline import Terms, convert  # noqa: E402
from edgekit.pipeline.build import load_source  # noqa: E402
from edgekit.pipeline.yardstick import Yardstick, make_yardstick, open_yard  # noqa: E402
from edgekit.preprocess import Preprocess  # noqa: E402
from edgekit.runtimes.select import load  # noqa: E402
from edgekit.runtimes.session import Session  # noqa: E402

DATA = ROOT.parent / "shared" / "data"
NAME = "yolox_nano"
MODEL = DATA / "model-det-yolox-nano" / "yolox_nano.onnx"
STEPS = "letterbox-topleft,bgr"
WARM_UP = 3


@dataclass(frozen=True)
class Entry:
    """One file on its runtime.

    Args:
        name: In the table.
        session: Open, one thread.
        nbytes: Of its files.
    """

    name: str
    session: Session
    nbytes: int


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for files and figures")
    parser.add_argument("--samples", type=int, default=64, help="photos to calibrate with")
    parser.add_argument("--held-out", type=int, default=60, help="photos to judge on, with COCO's")
    parser.add_argument("--seconds", type=float, default=20.0, help="per runtime")
    arguments = parser.parse_args()
    peer = Path(os.environ.get(VARIABLE, ""))
    if not peer.is_file():
        parser.error(f"{VARIABLE} names no Python with nncf in it")

    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    split_photos(work, arguments.samples, arguments.held_out)
    yardstick = judge(work)
    rows = []
    for entries in (openvino_entries(work, peer), litert_entries(work)):
        rows += measure(entries, yardstick, arguments.seconds)
        for entry in entries:
            entry.session.close()
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("openvino", "ai-edge-litert")},
        "samples": yardstick.samples.description,
        "boxes": sum(len(sample.expected) for sample in yardstick.samples),
        "rows": rows,
    }
    (work / "detector_int8.json").write_text(json.dumps(report, indent=1))
    print(to_markdown(rows))
    return 0


def split_photos(work: Path, samples: int, held_out: int) -> None:
    """Fill two folders with links: photos to calibrate with, and others to judge on."""
    photos = sorted((DATA / "data-imagenet-samples").glob("*.jpg"))
    coco = sorted((DATA / "data-coco-unlabelled").glob("*.jpg"))
    # Even and odd ones, so that both have all kinds.
    folders = {"calibration": photos[::2][:samples], "held-out": photos[1::2][:held_out] + coco}
    for name, paths in folders.items():
        shutil.rmtree(work / name, ignore_errors=True)
        (work / name).mkdir()
        for path in paths:
            (work / name / path.name).symlink_to(path.resolve())


def judge(work: Path) -> Yardstick:
    """Return the held-out photos, labelled by the float model."""
    graph = simplify(load_source(MODEL, shapes={}))
    steps = {graph.input_names[0]: Preprocess.parse(STEPS)}
    terms = Terms(validation=work / "held-out", metric="map", decoder="yolox")
    with load(MODEL, device="onnxruntime") as session:
        samples = open_yard(graph, terms, preprocess=steps)
        return make_yardstick(graph, terms, session, samples=samples, preprocess=steps)


def ours(work: Path, *targets: str) -> Bundle:
    """Return the bundle that ``edgekit convert`` makes of the first recipe."""
    result = convert(
        MODEL,
        targets=targets,
        output=work / f"{targets[-1].replace(':', '-')}.edgekit",
        preprocess={"": Preprocess.parse(STEPS)},
        verify=False,
        folder=True,
        terms=Terms(calibration=work / "calibration"),
    )
    return result.bundle


def openvino_entries(work: Path, peer: Path) -> list[Entry]:
    """Return float, ours and NNCF's on OpenVINO."""
    bundle = ours(work, "openvino:fp32", "openvino:int8")
    graph = simplify(load_source(MODEL, shapes={}))
    steps = {graph.input_names[0]: Preprocess.parse(STEPS)}
    opened = open_samples(work / "calibration", graph.inputs, preprocess=steps)
    source = Source(NAME, graph, [inputs for _, inputs in opened.items()], [])
    found, error = run_peer(peer, source, work)
    if error:
        raise RuntimeError(f"NNCF: {error}")
    file = work / "peer.xml"
    theirs = load(file, device="openvino", threads=1)
    size = file.stat().st_size + file.with_suffix(".bin").stat().st_size
    return [
        *(entry_of(bundle, name, "openvino") for name in ("openvino-fp32", "openvino-int8")),
        Entry(f"NNCF {found} on openvino", theirs, size),
    ]


def litert_entries(work: Path) -> list[Entry]:
    """Return float, ours and the shipped file on LiteRT."""
    bundle = ours(work, "tflite:fp32", "tflite:int8")
    weights = ours(work, "tflite:w8a32")
    shipped = DATA / SHIPPED[NAME]
    return [
        *(entry_of(bundle, name, "litert") for name in ("tflite-fp32", "tflite-int8")),
        entry_of(weights, "tflite-w8a32", "litert"),
        Entry(
            "shipped dynamic range on litert",
            load(shipped, device="litert", threads=1),
            shipped.stat().st_size,
        ),
    ]


def entry_of(bundle: Bundle, artifact: str, device: str) -> Entry:
    """Return an artifact of ours on a runtime."""
    session = load(bundle, device=device, artifact=artifact, threads=1)
    made = bundle.artifact(artifact)
    files = [bundle.files(made).path(role) for role in made.files]
    return Entry(f"EdgeKit {artifact}", session, sum(path.stat().st_size for path in files if path))


def measure(entries: list[Entry], yardstick: Yardstick, seconds: float) -> list[dict[str, Any]]:
    """Return agreement and CPU time of each."""
    rows: list[dict[str, Any]] = []
    for entry in entries:
        print(f"{entry.name} ...", file=sys.stderr, flush=True)
        value = yardstick.measure(entry.session).value
        rows.append({"name": entry.name, "map": value, "kb": entry.nbytes / 1024})
    sample = next(iter(yardstick.samples))
    feeds = {entry.name: yardstick.reading.feed(entry.session, sample) for entry in entries}
    times = time_in_turn({entry.name: entry.session for entry in entries}, feeds, seconds)
    for row in rows:
        row["median_ms"] = statistics.median(times[row["name"]])
        row["min_ms"] = min(times[row["name"]])
    return rows


def time_in_turn(
    sessions: Mapping[str, Session], feeds: Mapping[str, Any], seconds: float
) -> dict[str, list[float]]:
    """Return the CPU time of each call in ms, the sessions running in turn."""
    for name, session in sessions.items():
        for _ in range(WARM_UP):
            session.run(feeds[name])
    times: dict[str, list[float]] = {name: [] for name in sessions}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, session in sessions.items():
            started = time.process_time()
            session.run(feeds[name])
            times[name].append((time.process_time() - started) * 1e3)
    return times


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table."""
    lines = [
        "| file | mAP against float | median ms | least ms | kB |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['name']} | {row['map']:.4f} | {row['median_ms']:.2f} | {row['min_ms']:.2f} "
        f"| {row['kb']:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
