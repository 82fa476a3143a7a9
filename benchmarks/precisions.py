"""Every precision of every target: size, latency, distance to float.

    taskset -c 0 python benchmarks/precisions.py --work OUT [--only NAME ...] [--engines]

Pictures for trained models, seeded noise for the others; ``vit_wide`` is the suite's ViT with
384 channels and 6 heads. Each artifact runs on its own runtime, on one core; ms is the 10th
percentile of 30 runs (5 where one takes more than 50 ms). SQNR (dB) is the median over four
other inputs of the worst output, against ONNX Runtime on the float graph. TensorRT's files run in
ONNX Runtime, every node as the file says. ``--engines`` builds them with TensorRT-RTX for SM 8.6
(pip install tensorrt-rtx; no GPU is needed) and tells the plan's size and the seconds to build;
that says nothing about a Jetson's engine. Tables go to standard output.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

import numpy as np  # noqa: E402
from networks import attention, sample_inputs  # noqa: E402

from benchmarks.tflite_int8 import Array, Feed, Source, read_source  # noqa: E402
from edgekit.artifact import Artifact  # noqa: E402
from edgekit.converters.emitters import EMITTERS  # noqa: E402
from edgekit.converters.evaluate import evaluate, run_model  # noqa: E402
from edgekit.converters.onnx_model import graph_from_bytes  # noqa: E402
from edgekit.converters.passes import simplify  # noqa: E402
from edgekit.converters.quantize import (  # noqa: E402
    SCHEMES,
    pick_scheme,
    prepare_for_integers,
    quantize,
)
from edgekit.errors import EdgeKitError  # noqa: E402
from edgekit.graph import Graph  # noqa: E402
from edgekit.metrics import sqnr_db  # noqa: E402
from edgekit.pipeline.calibration import measure as measure_ranges  # noqa: E402
from edgekit.pipeline.calibration import ranges_of  # noqa: E402
from edgekit.pipeline.check import open_emitted  # noqa: E402
from edgekit.ranges import Ranges  # noqa: E402
from edgekit.target import TARGETS, Target  # noqa: E402

WIDE = "vit_wide"
NAMES = (
    WIDE, "vit", "mlp", "mobilenet_v2", "unet_linear", "yolov8", "mobileface_v2",
    "version-RFB-320_without_postprocessing", "yolox_nano",
)  # fmt: skip
FORMATS = ("onnx", "openvino", "tflite", "tensorrt")
RUNS, FEW_RUNS, LONG_S = 30, 5, 0.05


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the files")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(NAMES))
    parser.add_argument("--formats", nargs="+", metavar="NAME", default=list(FORMATS))
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--engines", action="store_true", help="build TensorRT's files too")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    print("| network | artifact | file | kB | ms | SQNR | engine, kB | build, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in arguments.only:
        source = wide_vit(arguments.samples) if name == WIDE else None
        source = source or read_source(name, arguments.work, arguments.samples)
        for row in rows_of(source, arguments):
            print(f"| {name} | {' | '.join(row)} |", flush=True)
    return 0


def wide_vit(count: int) -> Source:
    """Return the suite's ViT at the width of a small real one."""
    usual = attention.WIDTH, attention.HEADS
    attention.WIDTH, attention.HEADS = 384, 6
    model = attention.vit(layer_norm="op")
    attention.WIDTH, attention.HEADS = usual
    feeds = [sample_inputs(model, seed=seed) for seed in range(count + 4)]
    graph = simplify(graph_from_bytes(model.SerializeToString()))
    return Source(WIDE, graph, feeds[:count], feeds[count:])


def rows_of(source: Source, arguments: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """Yield the figures of each artifact of a network."""
    graph = prepare_for_integers(source.graph)
    collected, taps = measure_ranges(graph, source)
    ranges = ranges_of(collected, taps, model="", method="auto")
    wanted = [evaluate(graph, feed) for feed in source.others]
    for format in arguments.formats:
        target = TARGETS[format]
        for precision in target.precisions:
            name = f"{format}-{precision}"
            folder = arguments.work / source.name / name
            folder.mkdir(parents=True, exist_ok=True)
            try:
                artifact = emitted(graph, ranges, target.with_precision(precision), folder)
            except EdgeKitError as error:
                yield name, f"refused: {error}", *[""] * 5
                continue
            run = of_tensorrt if format == "tensorrt" else of_runtime
            yield from run(artifact, folder, source.others, wanted, arguments)


def emitted(graph: Graph, ranges: Ranges, target: Target, folder: Path) -> Artifact:
    """Return the artifact, its files in the folder."""
    name = f"{target.format}-{target.precision}"
    source = graph if name not in SCHEMES else quantize(
        graph, ranges, pick_scheme(target.format, target.precision)
    )  # fmt: skip
    artifact: Artifact = EMITTERS[target.format].load()(source, folder, target=target)
    return artifact


def of_runtime(
    artifact: Artifact, folder: Path, feeds: list[Feed], wanted: list[dict[str, Array]], _: Any
) -> Iterator[tuple[str, ...]]:
    """Yield the figures of an artifact on its own runtime."""
    size = sum((folder / name).stat().st_size for name in artifact.files.values())
    with open_emitted(artifact, folder, preprocess={}) as session:
        figures = [worst(session.run(feed), want) for feed, want in zip(feeds, wanted, strict=True)]
        times: list[float] = []
        while len(times) < (FEW_RUNS if times and min(times) > LONG_S else RUNS):
            start = time.perf_counter()
            session.run(feeds[0])
            times.append(time.perf_counter() - start)
    ms = float(np.percentile(times, 10)) * 1e3
    yield artifact.name, "", f"{size / 1e3:.0f}", f"{ms:.2f}", decibels(figures), "", ""


def of_tensorrt(
    artifact: Artifact,
    folder: Path,
    feeds: list[Feed],
    wanted: list[dict[str, Array]],
    arguments: argparse.Namespace,
) -> Iterator[tuple[str, ...]]:
    """Yield the figures of each ONNX file of a TensorRT artifact."""
    for role in ("model", "typed"):
        if role not in artifact.files:
            continue
        path = folder / artifact.files[role]
        results = [run_model(path, feed) for feed in feeds]
        figures = [worst(got, want) for got, want in zip(results, wanted, strict=True)]
        engine = ("", "")
        if arguments.engines:
            from test_emitter_tensorrt import build_engine

            start = time.perf_counter()
            nbytes = build_engine(path, artifact)
            engine = (f"{nbytes / 1e3:.0f}", f"{time.perf_counter() - start:.1f}")
        size = path.stat().st_size / 1e3
        yield artifact.name, role, f"{size:.0f}", "", decibels(figures), *engine


def worst(got: Mapping[str, Array], wanted: Mapping[str, Array]) -> float:
    """Return the SQNR of the worst output."""
    return min(sqnr_db(got[name], wanted[name]) for name in wanted)


def decibels(figures: list[float]) -> str:
    """Return the median in words."""
    return f"{statistics.median(figures):.1f}"


if __name__ == "__main__":
    sys.exit(main())
