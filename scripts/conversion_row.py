"""Convert one network to every target and hold each against ONNX Runtime; used by one process.

``write_conversion_table.py`` starts this once per network, so that the memory of a 500 MB
model is gone before the next. It prints one JSON document.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime as ort  # noqa: E402
from networks.subjects import Subject, pick_subjects  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.litert_facts import read_facts  # noqa: E402
from edgekit.converters.emitters import EMITTERS  # noqa: E402
from edgekit.errors import EdgeKitError  # noqa: E402
from edgekit.metrics import cosine, relative_error  # noqa: E402
from edgekit.pipeline import convert  # noqa: E402
from edgekit.pipeline.describe import describe  # noqa: E402
from edgekit.runtimes.options import SessionOptions  # noqa: E402
from edgekit.runtimes.select import load  # noqa: E402

Tensors = Mapping[str, NDArray[np.generic]]
TARGETS = ("openvino", "tflite", "tensorrt")
SEEDS = (2, 3)


@dataclass(frozen=True)
class Outcome:
    """What came of one target.

    Args:
        cosine: Smallest over outputs and inputs.
        relative_error: Largest over them, max error / max of the reference.
        operators: Of the written file.
        seconds: CPU time of ``convert`` without verification, in this process.
        nbytes: Size of the artifact's files.
        transposes: TFLite: TRANSPOSE operators.
        partitions: TFLite: parts that XNNPACK takes.
        plain_cosine: TFLite: the cosine without XNNPACK.
        error: Why there is no file, or why it does not run; ``""`` where all went well.
    """

    cosine: float = -1.0
    relative_error: float = -1.0
    operators: int = 0
    seconds: float = 0.0
    nbytes: int = 0
    transposes: int | None = None
    partitions: int | None = None
    plain_cosine: float | None = None
    error: str = ""


def main() -> int:
    """Print the row of the network named on the command line."""
    (subject,) = pick_subjects(only=[sys.argv[1]], skip_large=False)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(make_row(subject, Path(folder))))
    return 0


def make_row(subject: Subject, folder: Path) -> dict[str, object]:
    """Return the facts of one network."""
    for target in TARGETS:
        EMITTERS[target].load()  # so that no target's time holds the imports
    path = subject.write(folder)
    model = onnx.load(path)
    feeds = [subject.inputs(model, seed=seed) for seed in SEEDS]
    nodes = len(model.graph.node)
    del model
    references = [subject.judge(outputs) for outputs in run_onnx(path, feeds)]
    pairs = list(zip(feeds, references, strict=True))
    outcomes = {}
    for target in TARGETS:
        try:
            outcomes[target] = asdict(run_target(subject, path, target, folder, pairs))
        except EdgeKitError as error:
            outcomes[target] = asdict(Outcome(error=f"{error.code} {error}"))
    return {
        "name": subject.name,
        "family": subject.family,
        "notes": subject.notes,
        "nodes": nodes,
        "onnx_mb": path.stat().st_size / 2**20,
        "targets": outcomes,
    }


def run_onnx(path: Path, feeds: list[dict[str, NDArray[np.generic]]]) -> list[Tensors]:
    """Return ONNX Runtime's outputs by name for each feed."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(names, feed), strict=True)) for feed in feeds]


def run_target(
    subject: Subject, path: Path, target: str, folder: Path, pairs: list[tuple[Tensors, Tensors]]
) -> Outcome:
    """Convert to one target and compare what it computes with the references."""
    bundle = folder / f"{target}.edgekit"
    start = time.process_time()
    convert(path, targets=[target], output=bundle, shapes=subject.shapes or None, verify=False)
    seconds = time.process_time() - start
    unpacked = unpack(bundle)
    (file,) = (each for each in unpacked.rglob("*") if each.suffix in (".xml", ".tflite", ".onnx"))
    facts = Outcome(
        seconds=seconds,
        nbytes=sum(each.stat().st_size for each in file.parent.iterdir()),
        operators=sum(describe(file).operators.values()),
    )
    if target == "tensorrt":
        # No GPU here: the ONNX that TensorRT will parse must still compute the same.
        outputs = run_onnx(file, [dict(feed) for feed, _ in pairs])
        return with_agreement(facts, outputs, pairs)
    if target == "openvino":
        return with_agreement(facts, run_session(unpacked, "openvino", pairs, None), pairs)

    counts = read_facts(file)
    facts = replace(
        facts,
        operators=counts.operators,
        transposes=counts.transposes,
        partitions=counts.partitions,
        error=counts.error,
    )
    if counts.error:
        return facts
    plain = run_session(unpacked, "litert", pairs, False)
    facts = replace(facts, plain_cosine=worst(cosine, min, plain, pairs))
    return with_agreement(facts, run_session(unpacked, "litert", pairs, None), pairs)


def unpack(bundle: Path) -> Path:
    """Return the bundle as a folder."""
    if bundle.is_dir():
        return bundle
    folder = bundle.with_suffix(".unpacked")
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    bundle.unlink()
    return folder


def run_session(
    bundle: Path, device: str, pairs: list[tuple[Tensors, Tensors]], xnnpack: bool | None
) -> list[Tensors]:
    """Return the outputs of the bundle on one runtime, in float32."""
    options = SessionOptions(inference_precision="fp32", xnnpack=xnnpack)
    with load(bundle, device=device, options=options) as session:
        return [session.run(feed) for feed, _ in pairs]


def with_agreement(
    facts: Outcome, outputs: list[Tensors], pairs: list[tuple[Tensors, Tensors]]
) -> Outcome:
    """Return the facts with the worst cosine and relative error."""
    return replace(
        facts,
        cosine=worst(cosine, min, outputs, pairs),
        relative_error=worst(relative_error, max, outputs, pairs),
    )


def worst(
    metric: Callable[[NDArray[np.generic], NDArray[np.generic]], float],
    pick: Callable[..., float],
    outputs: list[Tensors],
    pairs: list[tuple[Tensors, Tensors]],
) -> float:
    """Return the worst value of a metric over all inputs and outputs."""
    return pick(
        metric(actual[name], reference[name])
        for actual, (_, reference) in zip(outputs, pairs, strict=True)
        for name in reference
    )


if __name__ == "__main__":
    raise SystemExit(main())
