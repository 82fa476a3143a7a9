"""int8 TFLite: this project's against ai-edge-quantizer's, from the same float file and samples.

    python3 -m venv AEQ && AEQ/bin/pip install ai-edge-quantizer==0.10.0
    export EDGEKIT_AEQ_PYTHON=AEQ/bin/python
    python benchmarks/tflite_int8.py --work OUT [--only NAME ...] [--samples 16]

Both take the samples of the subject, pictures for trained models; ours are made as
``edgekit convert`` begins, which the last column tells. Accuracy is cosine and SQNR
(dB) to ONNX Runtime's float results on other pictures, the median over pictures of the worst
output. All files of a network run in turn, one call each, one thread, the default delegate;
*ratio* is the median over the rounds of our time by the peer's in the same round. int8 files
that a model's authors ship are measured beside them. Figures go to OUT/tflite_int8.json and,
as Markdown, to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from fake_quantized import open_plain  # noqa: E402
from networks import REAL_FOLDER  # noqa: E402
from networks.subjects import Subject, all_subjects  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.first_recipe import quantize_first  # noqa: E402
from benchmarks.litert_facts import agreement, count_partitions, open_interpreter  # noqa: E402
from benchmarks.tflite_latency import time_in_turn  # noqa: E402
from edgekit.converters.emitters.tflite import Lowered, lower  # noqa: E402
from edgekit.converters.emitters.tflite.writer import write_model  # noqa: E402
from edgekit.converters.frontends.onnx import load_onnx  # noqa: E402
from edgekit.converters.passes import simplify  # noqa: E402
from edgekit.converters.quantize import pick_scheme  # noqa: E402
from edgekit.graph import Graph  # noqa: E402
from edgekit.metrics import cosine, sqnr_db  # noqa: E402
from edgekit.tensor import DType  # noqa: E402

Array = NDArray[np.generic]
Feed = Mapping[str, Array]
VARIABLE = "EDGEKIT_AEQ_PYTHON"
NETWORKS = (
    "mobilenet_v2", "mobilenet_v3_blocks", "resnet50", "densenet121", "inception_v2",
    "shufflenet", "unet_linear", "vit", "yolov8", "yolox_nano", "yunet_n_640_640",
    "mobileface_v2", "version-RFB-320_without_postprocessing", "ch_ppocr_mobile_v2.0_cls_infer",
)  # fmt: skip
SHIPPED = {"yolox_nano": "model-det-yolox-nano/yolox_nano_dynamic_range_quantize.tflite"}


@dataclass(frozen=True)
class Source:
    """One network with its samples.

    Args:
        name: Of the network.
        graph: Float, simplified.
        samples: To calibrate with.
        others: To measure with.
    """

    name: str
    graph: Graph
    samples: list[Feed]
    others: list[Feed]

    def items(self) -> Iterator[tuple[str, dict[str, Array]]]:
        """Yield the samples, for the calibration."""
        for number, feed in enumerate(self.samples):
            yield str(number), dict(feed)

    @property
    def expected(self) -> int:
        """How many samples there are."""
        return len(self.samples)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for files and figures")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=["digits", *NETWORKS])
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--method", help="how ranges are chosen; else as for convert")
    parser.add_argument("--seconds", type=float, default=3.0, help="per network")
    arguments = parser.parse_args()
    peer = Path(os.environ.get(VARIABLE, ""))
    if not peer.is_file():
        parser.error(f"{VARIABLE} names no Python with ai-edge-quantizer in it")

    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in arguments.only:
        print(f"{name} ...", file=sys.stderr, flush=True)
        source = read_source(name, arguments.work, arguments.samples)
        rows.append(run_source(source, arguments, peer))
        report = {"litert": version("ai-edge-litert"), "threads": 1, "rows": rows}
        (arguments.work / "tflite_int8.json").write_text(json.dumps(report, indent=1))
    print(to_markdown(rows))
    return 0


def read_source(name: str, work: Path, count: int) -> Source:
    """Return a network with ``count`` samples to calibrate, and four others."""
    if name == "digits":
        return _digits(count)
    subject: Subject = next(each for each in all_subjects() if each.name == name)
    path = subject.write(work)
    graph = simplify(load_onnx(path, shapes=subject.shapes or None))
    model = onnx.load(path, load_external_data=False)
    feeds = [subject.inputs(model, seed=seed) for seed in range(count + 4)]
    return Source(name, graph, feeds[:count], feeds[count:])


def _digits(count: int) -> Source:
    from edgekit.preprocess import Preprocess

    folder = ROOT / "examples" / "digits"
    graph = simplify(load_onnx(folder / "digits.onnx", shapes=None))
    (spec,) = graph.inputs
    steps = Preprocess.parse("letterbox,gray,scale=1/255,mean=0.3,std=0.37")
    frames = np.load(folder / "heldout.npz")["frames"]
    feeds = [{spec.name: steps.apply(frame, spec)} for frame in frames]
    return Source("digits", graph, feeds[:count], feeds[count:])


def run_source(source: Source, arguments: argparse.Namespace, peer: Path) -> dict[str, Any]:
    """Write the files of one network, hold them against float, time them in turn."""
    folder = arguments.work / source.name
    folder.mkdir(exist_ok=True)
    plain = lower(source.graph)
    write_model(plain.model, folder / "float.tflite")
    made = quantize_first(source, method=arguments.method)
    quantized = made(pick_scheme("tflite"))
    write_model(lower(quantized).model, folder / "ours.tflite")
    write_model(lower(quantized, io_dtype=DType.INT8).model, folder / "ours_int8.tflite")
    peer_error = run_peer(peer, plain, source.samples, folder)
    names = ("ours", "ours_int8", "float", *(() if peer_error else ("peer", "peer_int8")))
    files = {name: folder / f"{name}.tflite" for name in names}
    row: dict[str, Any] = {"name": source.name, "peer_error": peer_error}
    row["recipe"] = str(made.recipe)
    row["kept_float"] = len(quantized.float_nodes)
    for name, path in files.items():
        row[name] = measure(path, plain, source)
    shipped = REAL_FOLDER / SHIPPED.get(source.name, "-")
    if shipped.is_file():
        files["shipped"] = shipped
        row["shipped"] = measure_shipped(shipped, source)
    times = time_in_turn(
        {name: open_interpreter(path) for name, path in files.items()}, arguments.seconds
    )
    for name, times_ms in times.items():
        row[name]["median_ms"] = statistics.median(times_ms)
        row[name]["min_ms"] = min(times_ms)
        mine = times["ours_int8" if name == "peer_int8" else "ours"]
        row[name]["ratio"] = statistics.median(
            own / its for own, its in zip(mine, times_ms, strict=True)
        )
    return row


def run_peer(peer: Path, plain: Lowered, samples: list[Feed], folder: Path) -> str:
    """Let the peer quantize the float file; return its error, ``""`` where it has none."""
    stacked = {
        spec.name: np.stack([_stored(feed[spec.name], spec.permutation) for feed in samples])
        for spec in plain.inputs
    }
    np.savez(folder / "samples.npz", **stacked)
    script = ROOT / "benchmarks" / "aeq_quantize.py"
    for border, name in (("float", "peer.tflite"), ("int8", "peer_int8.tflite")):
        files = [folder / "float.tflite", folder / "samples.npz", folder / name]
        command = [peer, script, *files, border]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return done.stderr.strip().splitlines()[-1][:200]
    return ""


def _stored(value: Array, permutation: tuple[int, ...] | None) -> Array:
    return np.ascontiguousarray(value.transpose(permutation) if permutation else value)


def measure(path: Path, plain: Lowered, source: Source) -> dict[str, Any]:
    """Return accuracy against float, operators, partitions and size of a file."""
    interpreter = open_interpreter(path)
    runner = interpreter.get_signature_runner()
    session = open_plain(source.graph)
    names = list(source.graph.output_names)
    found = []
    for feed in source.others:
        wanted = dict(zip(names, session.run(names, dict(feed)), strict=True))
        given = {spec.name: _stored(feed[spec.name], spec.permutation) for spec in plain.inputs}
        results = run_real(runner, given)
        pairs = []
        for spec in plain.outputs:
            back = np.argsort(spec.permutation) if spec.permutation else None
            result = results[spec.name] if back is None else results[spec.name].transpose(back)
            pairs.append((cosine(result, wanted[spec.name]), sqnr_db(result, wanted[spec.name])))
        found.append(tuple(min(each) for each in zip(*pairs, strict=True)))
    cosines, ratios = zip(*found, strict=True)
    operators = [details["op_name"] for details in interpreter._get_ops_details()]
    return {
        "cosine": statistics.median(cosines),
        "sqnr_db": statistics.median(ratios),
        "operators": sum(name != "DELEGATE" for name in operators),
        "partitions": count_partitions(interpreter),
        "kb": path.stat().st_size / 1024,
    }


def run_real(runner: Any, given: Mapping[str, Array]) -> dict[str, Array]:
    """Run a signature on real values, whatever its inputs and outputs are stored as."""
    coded = {}
    for name, details in runner.get_input_details().items():
        scale, point = details["quantization"]
        value = given[name]
        if details["dtype"] is np.int8:
            value = np.clip(np.rint(value / np.float32(scale)) + point, -128, 127).astype(np.int8)
        coded[name] = value
    results = {}
    for name, details in runner.get_output_details().items():
        results[name] = details["quantization"]
    real = {}
    for name, value in runner(**coded).items():
        scale, point = results[name]
        real[name] = (value.astype(np.float32) - point) * scale if value.dtype == np.int8 else value
    return real


def measure_shipped(path: Path, source: Source) -> dict[str, Any]:
    """Return the same of a file with names and axes of its own."""
    session = open_plain(source.graph)
    names = list(source.graph.output_names)
    cosines = []
    for feed in source.others:
        wanted = dict(zip(names, session.run(names, dict(feed)), strict=True))
        cosines.append(agreement(path, feed, wanted)[0])
    return {"cosine": statistics.median(cosines), "kb": path.stat().st_size / 1024}


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table."""
    lines = [
        "| network | ours: median / min ms, parts, SQNR, cosine | peer | ratio | both with int8 "
        "inputs and outputs: ours | peer | ratio | ours against our float | made with |",
        "| --- | --- | --- | ---: | --- | --- | ---: | ---: | --- |",
    ]
    for row in rows:
        words = [row["name"]]
        for mine, other in (("ours", "peer"), ("ours_int8", "peer_int8")):
            peer = row.get(other)
            words += [_cell(row[mine]), _cell(peer) if peer else f"fails: {row['peer_error']}"]
            words.append(f"{peer['ratio']:.2f}x" if peer else "-")
        words += [f"{row['float']['ratio']:.2f}x", row["recipe"]]
        if "shipped" in row:
            shipped = row["shipped"]
            words[0] += f" (shipped: {shipped['median_ms']:.3f} ms, {shipped['cosine']:.5f})"
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)


def _cell(facts: dict[str, Any]) -> str:
    times = f"{facts['median_ms']:.3f} / {facts['min_ms']:.3f}"
    return f"{times}, {facts['partitions']}, {facts['sqnr_db']:.1f} dB, {facts['cosine']:.5f}"


if __name__ == "__main__":
    raise SystemExit(main())
