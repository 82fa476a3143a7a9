"""The calibration pass against onnxruntime.quantization's entropy calibrator.

Both run as a whole process of their own, in turns, on the same pictures and the same
preprocessing: reading and preprocessing the samples, running the float model with its
activations tapped, histograms, and the choice of ranges by entropy. Then our own pass
again with 10 and with 1,000 samples, for its memory. All of it on one core: with more, an
engine's threads wait for each other by spinning, which counts as CPU time.

    python benchmarks/calibration.py --data ../shared/data --out calibration.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from process_cost import Cost, measure

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))


@dataclass(frozen=True)
class Subject:
    """A trained model and how its authors feed it.

    Args:
        name: For the table.
        model: File or folder with one, relative to the data folder.
        pictures: Folder, likewise.
        preprocess: As ``Preprocess.parse`` reads it.
        samples: How many both calibrate on.
        shape: ``NAME:SIZES`` where the file leaves sizes open.
        many: Samples of the run that shows that the memory does not grow.
    """

    name: str
    model: str
    pictures: str
    preprocess: str
    samples: int = 100
    shape: str = ""
    many: int = 1000


SUBJECTS = (
    Subject(
        "MobileFace V2 112",
        "model-face-mobileface-v2/mobileface_v2.onnx",
        "data-faces-caltech",
        "stretch,rgb",
    ),
    Subject(
        "PP-OCR cls 48x192",
        "model-ocr-ppocr-cls",
        "data-imagenet-samples",
        "stretch,bgr,scale=1/255,mean=0.5,std=0.5",
        shape="x:1x3x48x192",
    ),
    # Twenty samples from here on: the peer keeps every activation of every sample, over
    # 100 MB each.
    Subject(
        "YuNet 640",
        "model-face-yunet/yunet_n_640_640.onnx",
        "data-faces-caltech",
        "letterbox,bgr",
        samples=20,
        many=200,
    ),
    Subject(
        "YOLOX-nano 416",
        "model-det-yolox-nano/yolox_nano.onnx",
        "data-imagenet-samples",
        "letterbox-topleft,bgr",
        samples=20,
        many=200,
    ),
    # Trained weights without a graph: tests/networks/espnet.py writes the network.
    Subject(
        "ESPNet 360x480",
        "model-seg-espnet/espnet_p_2_q_8_camvid.pth",
        "data-camvid/test",
        "none,bgr,mean=110.331:108.409:105.033,std=72.126*255:72.691*255:69.904*255",
        samples=20,
        many=200,
    ),
)


def _say_pass(start_s: float) -> None:
    """Print what the pass alone took; it is read from the log."""
    print(f"\npass_cpu_s {time.process_time() - start_s:.3f}", flush=True)


def ours(subject: Subject, model: Path, data: Path, samples: int) -> None:
    """Calibrate with EdgeKit, without the doctor, which the peer has none of.

    More samples than there are pictures take them again from the start.
    """
    from edgekit.calibration.samples import Samples
    from edgekit.calibration.sources import PictureSource
    from edgekit.converters.passes import simplify
    from edgekit.pipeline.build import load_source
    from edgekit.pipeline.calibration import measure as run_pass
    from edgekit.pipeline.calibration import ranges_of
    from edgekit.preprocess import Preprocess

    class Repeated(PictureSource):
        def read(self, chosen, skipped):  # type: ignore[no-untyped-def]
            while True:
                yield from super().read(chosen, skipped)

    source_graph = load_source(model, shapes=_shapes(subject))
    graph = simplify(source_graph)
    steps = {graph.inputs[0].name: Preprocess.parse(subject.preprocess)}
    source = Repeated(data / subject.pictures, channels=3)
    start_s = time.process_time()
    opened = Samples(source, graph.inputs, preprocess=steps, limit=samples)
    collected, taps = run_pass(graph, opened)
    ranges = ranges_of(collected, taps, model="", method="entropy")
    _say_pass(start_s)
    if collected.samples != samples:
        raise SystemExit(f"{collected.samples} samples instead of {samples}")
    with tempfile.TemporaryDirectory() as folder:
        ranges.save(Path(folder) / "ranges.json")


def peer(subject: Subject, path: Path, data: Path, samples: int) -> None:
    """Calibrate with onnxruntime.quantization; the process that is measured."""
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    from edgekit.calibration.samples import open_samples
    from edgekit.preprocess import Preprocess
    from edgekit.tensor import DType, TensorSpec

    model = onnx.load(path)
    shapes = _shapes(subject)
    info = next(i for i in model.graph.input if i.name not in _constants(model))
    for dim, size in zip(info.type.tensor_type.shape.dim, shapes.get(info.name, ()), strict=False):
        dim.dim_value = size
    shape = tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim)
    spec = TensorSpec(info.name, DType.FLOAT32, shape)
    opened = open_samples(
        data / subject.pictures,
        (spec,),
        preprocess={info.name: Preprocess.parse(subject.preprocess)},
        limit=samples,
    )

    class Reader:
        def __init__(self) -> None:
            self._items = iter(opened)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._items, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "model.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(model), prepared)
        start_s = time.process_time()
        calibrator = create_calibrator(
            prepared,
            augmented_model_path=f"{folder}/augmented.onnx",
            calibrate_method=CalibrationMethod.Entropy,
        )
        # Its own session's second thread would leave the one core, and spin on another.
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        calibrator.infer_session = ort.InferenceSession(
            calibrator.augmented_model_path, options, providers=["CPUExecutionProvider"]
        )
        calibrator.collect_data(Reader())
        calibrator.compute_data()
        _say_pass(start_s)


def _constants(model: object) -> set[str]:
    return {item.name for item in model.graph.initializer}  # type: ignore[attr-defined]


def _model(subject: Subject, data: Path, folder: Path) -> Path:
    """Return the subject's ONNX file; one that has to be written first is put in the folder."""
    path = data / subject.model
    if path.suffix == ".pth":
        import onnx
        from networks.espnet import trained_espnet

        written = folder / f"{path.stem}.onnx"
        onnx.save(trained_espnet(path), written)
        return written
    return path if path.is_file() else next(iter(sorted(path.rglob("*.onnx"))))


def _shapes(subject: Subject) -> dict[str, tuple[int, ...]]:
    if not subject.shape:
        return {}
    name, _, sizes = subject.shape.rpartition(":")
    return {name: tuple(map(int, sizes.split("x")))}


@dataclass(frozen=True)
class Place:
    """Where things lie: the model, the data folder and a file for what a process prints."""

    model: Path
    data: Path
    log: Path


def _cost(role: str, subject: Subject, samples: int, place: Place) -> tuple[Cost, float]:
    """Return what the process cost, and the CPU seconds of its pass alone."""
    env = {**os.environ, "MALLOC_ARENA_MAX": "2"}
    command = [sys.executable, __file__, "--data", str(place.data), "--role", role]
    command += ["--subject", subject.name, "--samples", str(samples), "--model", str(place.model)]
    cost = measure(command, log=place.log, env=env)
    if cost.status:
        raise SystemExit(f"{role} failed on {subject.name}: {cost.tail}")
    found = re.search(r"pass_cpu_s ([0-9.]+)", cost.tail)
    return cost, float(found[1]) if found else math.nan


def _row(subject: Subject, rounds: int, place: Place) -> dict[str, object]:
    costs: dict[str, list[tuple[Cost, float]]] = {"ours": [], "peer": []}
    for _ in range(rounds):
        for role, seen in costs.items():
            seen.append(_cost(role, subject, subject.samples, place))
    row: dict[str, object] = {"subject": asdict(subject)}
    for role, seen in costs.items():
        for figure in ("wall_s", "cpu_s", "peak_mb"):
            row[f"{role}_{figure}"] = statistics.median(getattr(c, figure) for c, _ in seen)
        row[f"{role}_pass_cpu_s"] = statistics.median(pass_s for _, pass_s in seen)
    return row


def _markdown(rows: list[dict[str, object]]) -> str:
    lines = [
        "| model | samples | pass, CPU s: ours / ONNX Runtime | times | whole process, CPU s | "
        "wall s | peak MB | our peak MB at 10 / 1,000 samples |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        subject, times = row["subject"], row["peer_pass_cpu_s"] / row["ours_pass_cpu_s"]
        cells = [
            subject["name"],
            str(subject["samples"]),
            f"{row['ours_pass_cpu_s']:.2f} / {row['peer_pass_cpu_s']:.2f}",
            f"{times:.1f}",
            f"{row['ours_cpu_s']:.1f} / {row['peer_cpu_s']:.1f}",
            f"{row['ours_wall_s']:.1f} / {row['peer_wall_s']:.1f}",
            f"{row['ours_peak_mb']:.0f} / {row['peer_peak_mb']:.0f}",
            _memory(row),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _memory(row: dict[str, object]) -> str:
    peaks = row.get("memory_mb", {})
    cell = " / ".join(f"{mb:.0f}" for mb in peaks.values())
    return cell if max(peaks, default=1000) == 1000 else f"{cell} ({max(peaks)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("calibration.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--role", choices=("ours", "peer"))
    parser.add_argument("--subject")
    parser.add_argument("--samples", type=int, help="instead of each subject's own number")
    parser.add_argument("--model", type=Path, help="with --role: the subject's ONNX file")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    chosen = [
        replace(subject, samples=options.samples or subject.samples)
        for subject in SUBJECTS
        if options.subject in (None, subject.name)
    ]
    if options.role:
        role = {"ours": ours, "peer": peer}[options.role]
        role(chosen[0], options.model, options.data.resolve(), chosen[0].samples)
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder, data = Path(name), options.data.resolve()
        for subject in chosen:
            place = Place(_model(subject, data, folder), data, folder / "log.txt")
            row = _row(subject, options.rounds, place)
            if not options.no_memory:
                row["memory_mb"] = {
                    samples: _cost("ours", subject, samples, place)[0].peak_mb
                    for samples in (10, subject.many)
                }
            rows.append(row)
            options.out.write_text(json.dumps(rows, indent=1) + "\n")
            print(_markdown(rows), flush=True)


if __name__ == "__main__":
    main()
