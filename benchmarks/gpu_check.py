"""Run what needs an NVIDIA GPU and print a report in Markdown, for docs/verified.md.

    python benchmarks/gpu_check.py [--section tensorrt] [--bundle FILE]
    python benchmarks/gpu_check.py --write-bundle FILE      # anywhere, for a machine that cannot

Sections: the CUDA layer by every provider; TensorRT's engines of a network as ResNet-18 in
float16 and int8, and what the session adds to the engine's own call; the same files under
ONNX Runtime's CUDA provider; what is installed. What cannot be run says why. A figure is the
median of its rounds. Status 0: all that ran is right; 1: something is not; 3: there is no GPU.
To add a section: write a function that returns checks, and add it to ``SECTIONS``.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_model import write_bundle  # noqa: E402
from benchmarks.gpu_onnxruntime import check_onnxruntime  # noqa: E402
from benchmarks.gpu_releases import check_releases  # noqa: E402
from benchmarks.gpu_tensorrt import check_tensorrt  # noqa: E402
from edgekit import __version__  # noqa: E402
from edgekit.errors import EdgeKitError  # noqa: E402
from edgekit.runtimes.cuda import open_cuda  # noqa: E402
from edgekit.runtimes.jetson.conditions import under_conditions  # noqa: E402
from edgekit.runtimes.selftest import FAILED, PASSED, SKIPPED, Check, Skip  # noqa: E402
from edgekit.runtimes.selftest.cuda import check_cuda  # noqa: E402

OUTCOMES = {PASSED: "ok", FAILED: "FAILED", SKIPPED: "not run"}


@dataclass
class Bench:
    """Where the sections find their network, and room for engines.

    Args:
        folder: Empty.
        given: The bundle that the user gave, or None.
    """

    folder: Path
    given: Path | None

    @cached_property
    def bundle(self) -> Path:
        """The bundle, written when it is first asked for.

        Raises:
            Skip: It was not given, and cannot be written here.
        """
        return self.given or write_bundle(self.folder / "resnet18.edgekit")


SECTIONS: dict[str, Callable[[Bench], tuple[Check, ...]]] = {
    "releases": lambda bench: check_releases(),
    "cuda": lambda bench: check_cuda(tell),
    "tensorrt": lambda bench: check_tensorrt(bench.bundle, bench.folder, tell),
    "onnxruntime": lambda bench: check_onnxruntime(bench.bundle),
}
ANYWHERE = ("releases",)
"""Sections that need no GPU."""


def main() -> int:
    """Run the sections; the status is that of the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--section", choices=SECTIONS, action="append")
    parser.add_argument("--bundle", type=Path, metavar="FILE", help="default: ResNet-18's, made")
    parser.add_argument("--write-bundle", type=Path, metavar="FILE", help="write it, run nothing")
    arguments = parser.parse_args()
    if arguments.write_bundle:
        try:
            print(f"wrote {write_bundle(arguments.write_bundle)}")
        except (Skip, EdgeKitError) as reason:
            print(reason, file=sys.stderr)
            return 1
        return 0
    why_not = no_gpu()
    if why_not:
        print(f"{why_not}\n")
    with (
        tempfile.TemporaryDirectory(prefix="edgekit-gpu-check-") as folder,
        under_conditions() as conditions,
    ):
        bench = Bench(Path(folder), arguments.bundle)
        names = arguments.section or list(SECTIONS)
        checks = tuple(check for name in names for check in section(name, bench, why_not))
    print(report(checks, conditions.lines()))
    if why_not:
        return 3
    return int(any(check.status == FAILED for check in checks))


def section(name: str, bench: Bench, why_not: str) -> tuple[Check, ...]:
    """Return the checks of a section; one line with the reason where it cannot be run."""
    if why_not and name not in ANYWHERE:
        return (Check(name, "all", SKIPPED, why_not, 0.0),)
    try:
        return SECTIONS[name](bench)
    except Skip as reason:
        return (Check(name, "all", SKIPPED, str(reason), 0.0),)
    except EdgeKitError as error:
        return (Check(name, "all", FAILED, str(error), 0.0),)


def no_gpu() -> str:
    """Return why CUDA has no GPU here, or ``""``."""
    try:
        if open_cuda().device_count():
            return ""
        reason = ""
    except EdgeKitError as error:
        reason = f": {error}"
    return f"there is no NVIDIA GPU that CUDA can use here{reason}"


def report(checks: Sequence[Check], conditions: Sequence[str] = ()) -> str:
    """Return the report: when and where, under what conditions, and every check."""
    day = datetime.now(timezone.utc).strftime("%d %b %Y %H:%M UTC")
    where = f"{platform.machine()}, {platform.release()}, Python {platform.python_version()}"
    lines = [f"`benchmarks/gpu_check.py`, EdgeKit {__version__}, {day}; {where}.", ""]
    lines += [*(f"- {line}" for line in conditions), ""] if conditions else []
    lines += ["| section | check | outcome | what was seen |", "|---|---|---|---|"]
    for check in checks:
        detail = " ".join(check.detail.split()).replace("|", "\\|")
        lines.append(f"| {check.area} | {check.name} | {OUTCOMES[check.status]} | {detail} |")
    return "\n".join(lines)


def tell(stage: str) -> None:
    """Say on the terminal what runs; the report is on the standard output."""
    if sys.stderr.isatty():
        print(f"{stage} ...", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
