"""The whole way once: a trained model, three targets, float and int8, checked, timed, run.

    python scripts/demo.py              # takes examples/digits, writes .demo/

The model was trained by scripts/train_digits.py. Int8 is calibrated on pictures that it was
trained on and judged on those held out, which neither has seen. The table says what was done
and what was found; the report beside the bundle says it at length.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit import __version__, convert, load
from edgekit.bundle import Bundle
from edgekit.bundle.contract import SIMULATED, Contract
from edgekit.calibration.contract import Promise
from edgekit.cli.console import Console, Table, human_bytes
from edgekit.errors import EdgeKitError
from edgekit.pipeline import Terms
from edgekit.pipeline.samples import read_picture
from edgekit.preprocess import Preprocess
from edgekit.report.page import write_report
from edgekit.runtimes import RUNTIME_FORMATS
from edgekit.runtimes.bench import BenchOptions, bench
from edgekit.runtimes.parity import PASSED, verify_bundle

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "digits"
PREPROCESS = "letterbox,gray,scale=1/255,mean=0.3,std=0.37"
HELD_OUT = EXAMPLE / "heldout.npz"
TARGETS = (
    "onnx", "openvino", "tflite", "tflite:fp16", "tensorrt",
    "openvino:int8", "tflite:int8", "tensorrt:int8",
)  # fmt: skip
TERMS = Terms(
    calibration=EXAMPLE / "calibration.npz",
    validation=HELD_OUT,
    metric="top1",
    promise=Promise(0.01, is_relative=True),
    advise=False,
)
BENCH = BenchOptions(rounds=200, limit_s=10, threads=1, with_footprint=False)


@dataclass(frozen=True)
class Found:
    """What was found of one artifact.

    Args:
        engine: Runtime and version that ran it.
        right: Held-out pictures that it names rightly.
        cosine: Of its golden outputs with the source's, the worst; 1 is the same.
        median_ms: Of one call; None where another engine stood in, whose time tells nothing.
        answer: What it says of the picture.
    """

    engine: str
    right: int
    cosine: float | None = None
    median_ms: float | None = None
    answer: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Convert, verify, time, run; print what was done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--picture", type=Path, default=EXAMPLE / "seven.png", help="of a digit")
    parser.add_argument("--output", type=Path, default=ROOT / ".demo", help="folder to write to")
    options = parser.parse_args(arguments)
    options.output.mkdir(exist_ok=True)
    path = options.output / "digits.edgekit"
    console = Console()
    try:
        with console.progress() as stage:
            result = convert(
                EXAMPLE / "digits.onnx",
                targets=TARGETS,
                output=path,
                preprocess={"image": Preprocess.parse(PREPROCESS)},
                labels=EXAMPLE / "labels.txt",
                golden=[EXAMPLE / "three.png"],
                terms=TERMS,
                progress=stage,
            )
            stage("verify every hash and golden")
            result.bundle.verify_files()
            found = simulated(result.bundle) | find_out(result.bundle, options.picture)
            report = write_report(result.bundle, path.with_suffix(".html"))
    except EdgeKitError as error:
        print(f"demo: error {error.code}: {error}", file=sys.stderr)
        return error.exit_status
    show(result.bundle, found, options.picture, console)
    console.line(f"wrote {os.path.relpath(path)} and its report {os.path.relpath(report)}")
    return 0


def simulated(bundle: Bundle) -> dict[str, Found]:
    """Return what the contract has of artifacts whose own runtime is not here."""
    contract = bundle.manifest.contract
    total = len(np.load(HELD_OUT)["labels"])
    return {
        figure.artifact: Found(f"{figure.runtime}, {SIMULATED}", round(figure.value * total))
        for figure in (contract.figures if contract else ())
        if figure.status == SIMULATED
    }


def find_out(bundle: Bundle, picture: Path) -> dict[str, Found]:
    """Return what each artifact that runs here does, by its name."""
    cosines = {
        (replay.artifact, replay.runtime): min(output.cosine for output in replay.outputs)
        for replay in verify_bundle(bundle)
        if replay.status == PASSED
    }
    times = {
        (result.artifact, result.runtime): result.latency.median_ms
        for result in bench(bundle.location, options=BENCH).results
    }
    held_out = np.load(HELD_OUT)
    frame = read_picture(picture)
    found: dict[str, Found] = {}
    for artifact in bundle.artifacts:
        # Each on the runtime that is made for its format.
        runtime = next((r for r, made in RUNTIME_FORMATS.items() if made[0] == artifact.format), "")
        key = (artifact.name, runtime)
        if key not in cosines:
            continue
        with load(bundle, device=runtime, artifact=artifact.name) as session:
            answers = [
                int(scores["probabilities"].argmax()) for scores in session.map(held_out["frames"])
            ]
            scores = session.run({"image": frame})["probabilities"][0]
            found[artifact.name] = Found(
                f"{runtime} {session.version}",
                int((np.array(answers) == held_out["labels"]).sum()),
                cosines[key],
                times[key],
                bundle.labels[scores.argmax()],
            )
    return found


def show(bundle: Bundle, found: dict[str, Found], picture: Path, console: Console) -> None:
    """Print the table, the contract, and what is not verified."""
    total = len(np.load(HELD_OUT)["labels"])
    rows: list[tuple[str, ...]] = []
    for artifact in bundle.artifacts:
        size = sum(bundle.manifest.files[file].size for file in artifact.files.values())
        start = (artifact.name, human_bytes(size))
        item = found.get(artifact.name)
        if item is None:
            rows.append((*start, "unverified", "", "", "", ""))
            continue
        cosine = "" if item.cosine is None else f"{item.cosine:.7f}"
        median = "" if item.median_ms is None else f"{item.median_ms:.3f}"
        rows.append((*start, item.engine, cosine, median, f"{item.right}/{total}", item.answer))
    console.line(f"\nEdgeKit {__version__}: {EXAMPLE.name}/digits.onnx -> {bundle.location.name}\n")
    console.table(
        Table(
            ("artifact", ">size", "ran on", ">cosine", ">ms", ">right", f"{picture.name} is"), rows
        )
    )
    for artifact in bundle.artifacts:
        status = bundle.manifest.status_of(artifact.name)
        if not status.is_verified:
            console.line(f"{artifact.name}: unverified: {status.reason}")
    if bundle.manifest.contract is not None:
        console.line(promise_line(bundle.manifest.contract))
    console.line("cosine: golden outputs against ONNX Runtime on the source; ms: median, 1 thread")
    console.line("right: held-out digits; the model was not trained on them, int8 not calibrated")


def promise_line(contract: Contract) -> str:
    """Return what was promised of int8, and the most that was lost."""
    worst = max(contract.figures, key=lambda figure: figure.lost)
    return (
        f"contract kept: int8 loses at most {contract.limit:.0%} of {contract.metric} "
        f"(float: {contract.baseline:.4f}); the most is {worst.lost:.2%}, by {worst.artifact}"
    )


if __name__ == "__main__":
    sys.exit(main())
