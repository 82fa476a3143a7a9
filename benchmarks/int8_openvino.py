"""int8 OpenVINO IR: this project's against NNCF's, from the same float graph and samples.

    python3 -m venv NNCF && NNCF/bin/pip install nncf==3.4.0 openvino
    export EDGEKIT_NNCF_PYTHON=NNCF/bin/python
    python benchmarks/int8_openvino.py --work OUT [--only NAME ...] [--samples 32] [--seconds 4]

Both take the samples of the subject, pictures for trained models, NNCF with its defaults (which
correct biases). *ours* is what ``edgekit convert`` begins with (the last column tells), *plain*
has ranges by ``auto`` and nothing fixed. Accuracy is SQNR (dB) and cosine to ONNX Runtime's float
results on other pictures, the median over pictures of the worst output. *task* is in points over
the same pictures: top-1 where their classes are known (in brackets how often it is the float
model's class), else for a classifier how often the best class is the float model's, else 100
times the mean cosine of the worst output; detectors' mAP is in detector_int8.py. Networks that
need more than this repository: picture_networks.py; one that cannot run is left out with the
reason. Float, ours and NNCF's run in turn in one process, one thread, computing in float32 where
they compute in float; times are CPU time, and *ratio* is ours by NNCF's. Figures go to
OUT/int8_openvino.json and, as Markdown, to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

import numpy as np  # noqa: E402
import openvino as ov  # noqa: E402
from fake_quantized import open_plain  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.first_recipe import quantize_first  # noqa: E402
from benchmarks.picture_networks import (  # noqa: E402
    PICTURE_NETWORKS,
    LabelledSource,
    read_pictures,
)
from benchmarks.tflite_int8 import Source, read_source  # noqa: E402
from edgekit.calibration.contract import Recipe  # noqa: E402
from edgekit.converters.emitters.openvino import emit  # noqa: E402
from edgekit.converters.onnx_model import write_graph  # noqa: E402
from edgekit.converters.quantize import pick_scheme  # noqa: E402
from edgekit.graph import Graph  # noqa: E402
from edgekit.metrics import cosine, sqnr_db  # noqa: E402
from edgekit.quantized import QuantizedGraph  # noqa: E402
from edgekit.target import pick_target  # noqa: E402

Array = NDArray[np.generic]
VARIABLE = "EDGEKIT_NNCF_PYTHON"
NETWORKS = (
    "digits", "yolox_nano", "yunet_n_640_640", "mobileface_v2",
    "version-RFB-320_without_postprocessing", "ch_ppocr_mobile_v2.0_cls_infer",
    "fsanet-1x1-iter-688590", "resnet8", "efficientnet_lite0", "mobilenet_v2",
    "mobilenet_v3_blocks", "ppocr_v4_det", "mini_xception",
)  # fmt: skip
CLASSIFIERS = {
    "digits", "ch_ppocr_mobile_v2.0_cls_infer", "efficientnet_lite0", "mobilenet_v2",
    "mobilenet_v3_blocks", "mini_xception",
}  # fmt: skip
SETTINGS = {
    "INFERENCE_PRECISION_HINT": "f32",
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "PERFORMANCE_HINT": "LATENCY",
}
WARM_UP = 3
MIN_ROUNDS = 10
# ``read_source`` keeps so many inputs to measure with, beside the samples asked for.
_ALREADY_HELD_OUT = 4


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for files and figures")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(NETWORKS))
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument(
        "--held-out", type=int, default=150, help="at most; where classes are known, all"
    )
    parser.add_argument("--method", help="how ranges are chosen; else as for convert")
    parser.add_argument("--seconds", type=float, default=4.0, help="per network")
    arguments = parser.parse_args()
    peer = Path(os.environ.get(VARIABLE, ""))
    if not peer.is_file():
        parser.error(f"{VARIABLE} names no Python with nncf in it")

    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in arguments.only:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            source = split_source(name, arguments)
        except (RuntimeError, FileNotFoundError, StopIteration) as error:
            print(f"{name} is left out: {error}", file=sys.stderr, flush=True)
            continue
        rows.append(run_source(source, arguments, peer))
        report = {"openvino": version("openvino"), "threads": 1, "rows": rows}
        (arguments.work / "int8_openvino.json").write_text(json.dumps(report, indent=1))
    print(to_markdown(rows))
    return 0


def split_source(name: str, arguments: argparse.Namespace) -> Source:
    """Return a network with its samples and the inputs held out."""
    count, held_out = arguments.samples, arguments.held_out
    if name in PICTURE_NETWORKS:
        pictured = read_pictures(name, arguments.work, count)
        return pictured if pictured.labels else replace(pictured, others=pictured.others[:held_out])
    source = read_source(name, arguments.work, count + held_out - _ALREADY_HELD_OUT)
    feeds = [*source.samples, *source.others]
    return replace(source, samples=feeds[:count], others=feeds[count : count + held_out])


def run_source(source: Source, arguments: argparse.Namespace, peer: Path) -> dict[str, Any]:
    """Write the files of one network, hold them against float, time them in turn."""
    folder = arguments.work / source.name
    folder.mkdir(exist_ok=True)
    started = time.perf_counter()
    made, scheme = quantize_first(source, method=arguments.method), pick_scheme("openvino")
    files = {
        "float": write(source.graph, folder / "float"),
        "ours": write(made(scheme), folder / "ours"),
    }
    row: dict[str, Any] = {"name": source.name, "ours_seconds": time.perf_counter() - started}
    row["recipe"] = str(made.recipe)
    plain = made(scheme, recipe=Recipe(arguments.method or "auto"))
    files["plain"] = write(plain, folder / "plain")
    started = time.perf_counter()
    row["nncf"], row["peer_error"] = run_peer(peer, source, folder)
    row["peer_seconds"] = time.perf_counter() - started
    if not row["peer_error"]:
        files["peer"] = folder / "peer.xml"
    core = ov.Core()
    models = {key: core.compile_model(path, "CPU", SETTINGS) for key, path in files.items()}
    reference = open_plain(source.graph)
    names = list(source.graph.output_names)
    wanted = [list(reference.run(names, dict(feed))) for feed in source.others]
    row["task"], labels = pick_task(source, wanted)
    for key, model in models.items():
        row[key] = agreement(model, source, wanted, labels)
    timed = {key: model for key, model in models.items() if key != "plain"}
    for key, times in time_in_turn(timed, source.others[0], arguments.seconds).items():
        row[key]["p10_ms"] = float(np.percentile(times, 10))
        row[key]["median_ms"] = statistics.median(times)
    return row


def write(graph: Graph | QuantizedGraph, folder: Path) -> Path:
    """Return the IR of a graph, in a folder of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    target = pick_target("openvino:int8" if isinstance(graph, QuantizedGraph) else "openvino:fp32")
    artifact = emit(graph, folder, target=target)
    return folder / artifact.files["model"]


def run_peer(peer: Path, source: Source, folder: Path) -> tuple[str, str]:
    """Let NNCF quantize the float graph; return its version, and its error or ``""``."""
    write_graph(source.graph, folder / "float.onnx")
    stacked = {
        name: np.stack([np.asarray(feed[name]) for feed in source.samples])
        for name in source.graph.input_names
    }
    np.savez(folder / "samples.npz", **stacked)
    script = ROOT / "benchmarks" / "nncf_quantize.py"
    files = [folder / "float.onnx", folder / "samples.npz", folder / "peer.xml"]
    command = [peer, script, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return "", done.stderr.strip().splitlines()[-1][:200]
    return done.stdout.strip().splitlines()[-1], ""


def pick_task(source: Source, wanted: list[list[Array]]) -> tuple[str, list[int] | None]:
    """Return the task metric's name, and the classes where it is about classes."""
    count = len(wanted)
    if isinstance(source, LabelledSource) and source.labels:
        return f"top-1, {count}", list(source.labels)
    if source.name in CLASSIFIERS:
        return f"top-1 as float, {count}", [int(results[0].argmax()) for results in wanted]
    return f"mean cosine, {count}", None


def agreement(
    model: ov.CompiledModel,
    source: Source,
    wanted: list[list[Array]],
    labels: list[int] | None,
) -> dict[str, float]:
    """Return SQNR and cosine to float, of the worst output, the median over inputs; the task's."""
    request = model.create_infer_request()
    found = []
    best, floats = [], []
    for feed, results in zip(source.others, wanted, strict=True):
        request.infer(dict(feed))
        made = [request.get_output_tensor(index).data for index in range(len(results))]
        best.append(int(made[0].argmax()))
        floats.append(int(results[0].argmax()))
        pairs = [
            (sqnr_db(got, want), cosine(got, want))
            for got, want in zip(made, results, strict=True)
            if want.dtype.kind == "f"
        ]
        found.append(tuple(min(each) for each in zip(*pairs, strict=True)))
    ratios, cosines = zip(*found, strict=True)
    task = cosines if labels is None else np.equal(best, labels)
    return {
        "sqnr_db": statistics.median(ratios),
        "cosine": statistics.median(cosines),
        "task": 100 * float(np.mean(task)),
        "same_class": 100 * float(np.mean(np.equal(best, floats))),
    }


def time_in_turn(
    models: Mapping[str, ov.CompiledModel], feed: Mapping[str, Array], seconds: float
) -> dict[str, list[float]]:
    """Return the CPU time of each call in ms, the models running in turn."""
    requests = {key: model.create_infer_request() for key, model in models.items()}
    given = dict(feed)
    for request in requests.values():
        for _ in range(WARM_UP):
            request.infer(given)
    times: dict[str, list[float]] = {key: [] for key in requests}
    end = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < end or rounds < MIN_ROUNDS:
        for key, request in requests.items():
            started = time.process_time()
            request.infer(given)
            times[key].append((time.process_time() - started) * 1e3)
        rounds += 1
    return times


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table."""
    lines = [
        "| network | float: p10 / median ms | ours | NNCF | ratio of p10 | of medians | SQNR, "
        "cosine: plain | ours | NNCF | task, pictures | float | plain | ours | NNCF | made with |",
        f"| --- |{' ---: |' * 8} --- |{' ---: |' * 4} --- |",
    ]
    for row in rows:
        peer = row.get("peer")
        words = [row["name"], _times(row["float"]), _times(row["ours"])]
        if peer is None:
            words += [f"fails: {row['peer_error']}", "-", "-"]
        else:
            words.append(_times(peer))
            words += [f"{row['ours'][key] / peer[key]:.2f}x" for key in ("p10_ms", "median_ms")]
        words += [_accuracy(row[key]) for key in ("plain", "ours")]
        words.append("-" if peer is None else _accuracy(peer))
        words.append(row["task"])
        is_labelled = row["task"].startswith("top-1, ")
        words += [_points(row.get(key), is_labelled) for key in ("float", "plain", "ours", "peer")]
        words.append(row["recipe"])
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)


def _times(facts: Mapping[str, float]) -> str:
    return f"{facts['p10_ms']:.3f} / {facts['median_ms']:.3f}"


def _points(facts: Mapping[str, float] | None, is_labelled: bool) -> str:
    if facts is None:
        return "-"
    return f"{facts['task']:.2f}" + (f" ({facts['same_class']:.2f})" if is_labelled else "")


def _accuracy(facts: Mapping[str, float]) -> str:
    return f"{facts['sqnr_db']:.1f} dB, {facts['cosine']:.5f}"


if __name__ == "__main__":
    raise SystemExit(main())
