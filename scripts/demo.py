"""The whole way once: a trained model, three targets, checked, timed, run on a picture.

    python scripts/demo.py              # takes examples/digits, writes .demo/

The model was trained by scripts/train_digits.py; the pictures are held out: it has never
seen them. The last table says what was done and what was found.
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
from edgekit.cli.console import Console, Table, human_bytes
from edgekit.errors import EdgeKitError
from edgekit.pipeline.samples import read_picture
from edgekit.preprocess import Preprocess
from edgekit.runtimes import RUNTIME_FORMATS
from edgekit.runtimes.bench import BenchOptions, bench
from edgekit.runtimes.parity import PASSED, verify_bundle

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "digits"
PREPROCESS = "letterbox,gray,scale=1/255,mean=0.3,std=0.37"
TARGETS = ("onnx", "openvino", "tflite", "tflite:fp16", "tensorrt")
BENCH = BenchOptions(rounds=200, limit_s=10, threads=1, with_footprint=False)


@dataclass(frozen=True)
class Found:
    """What was found of one artifact.

    Args:
        engine: Runtime and version that ran it.
        cosine: Of its golden outputs with the source's; 1 is the same.
        median_ms: Of one call.
        right: Held-out pictures that it names rightly.
        answer: What it says of the picture.
    """

    engine: str
    cosine: float
    median_ms: float
    right: int
    answer: str


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
                progress=stage,
            )
            stage("verify every hash and golden")
            result.bundle.verify_files()
            found = find_out(result.bundle, options.picture)
    except EdgeKitError as error:
        print(f"demo: error {error.code}: {error}", file=sys.stderr)
        return error.exit_status
    show(result.bundle, found, options.picture, console)
    return 0


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
    held_out = np.load(EXAMPLE / "heldout.npz")
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
                cosines[key],
                times[key],
                int((np.array(answers) == held_out["labels"]).sum()),
                bundle.labels[scores.argmax()],
            )
    return found


def show(bundle: Bundle, found: dict[str, Found], picture: Path, console: Console) -> None:
    """Print the table, and the commands that do the same."""
    total = len(np.load(EXAMPLE / "heldout.npz")["labels"])
    rows: list[tuple[str, ...]] = []
    for artifact in bundle.artifacts:
        size = sum(bundle.manifest.files[file].size for file in artifact.files.values())
        start = (artifact.name, human_bytes(size))
        item = found.get(artifact.name)
        if item is None:
            rows.append((*start, "unverified", "", "", "", ""))
            continue
        rows.append(
            (*start, item.engine, f"{item.cosine:.7f}", f"{item.median_ms:.3f}",
             f"{item.right}/{total}", item.answer)
        )  # fmt: skip
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
    console.line("cosine: golden outputs against ONNX Runtime on the source; ms: median, 1 thread")
    console.line("right: held-out digits that the model was not trained on")
    console.line(f"wrote {os.path.relpath(bundle.location)}")


if __name__ == "__main__":
    sys.exit(main())
