"""Run what needs an NVIDIA GPU and print a report in Markdown.

    python benchmarks/gpu_check.py [--section cuda]

Every check is run on the device and compared with what the host computes; a figure is the
median of its rounds. Status 0: all ran well; 1: one failed; 3: there is no GPU, nothing was run.
To add a section: write a function that returns checks, and add it to ``SECTIONS``.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from edgekit import __version__  # noqa: E402
from edgekit.errors import EdgeKitError  # noqa: E402
from edgekit.runtimes.cuda import open_cuda  # noqa: E402
from edgekit.runtimes.selftest import FAILED, PASSED, SKIPPED, Check  # noqa: E402
from edgekit.runtimes.selftest.cuda import check_cuda  # noqa: E402

SECTIONS: dict[str, Callable[[], tuple[Check, ...]]] = {"cuda": check_cuda}
PACKAGES = ("numpy", "cuda-bindings", "pycuda", "torch", "tensorrt", "tensorrt-rtx")
OUTCOMES = {PASSED: "ok", FAILED: "FAILED", SKIPPED: "not run"}


def main() -> int:
    """Run the sections; the status is that of the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--section", choices=SECTIONS, action="append")
    wanted = parser.parse_args().section or list(SECTIONS)
    try:
        count, reason = open_cuda().device_count(), ""
    except EdgeKitError as error:
        count, reason = 0, f" {error}"
    if not count:
        print(f"there is no NVIDIA GPU that CUDA can use here; nothing was run.{reason}")
        return 3
    checks = tuple(check for name in wanted for check in SECTIONS[name]())
    print(report(checks))
    return int(any(check.status == FAILED for check in checks))


def report(checks: Sequence[Check]) -> str:
    """Return the report: when and where, and every check."""
    versions = [f"EdgeKit {__version__}", f"Python {platform.python_version()}"]
    versions += [f"{name} {metadata.version(name)}" for name in PACKAGES if is_there(name)]
    day = datetime.now(timezone.utc).strftime("%d %b %Y %H:%M UTC")
    lines = [f"{day}; {platform.machine()}, {platform.release()}; {', '.join(versions)}.", ""]
    lines += ["| section | check | outcome | what was seen |", "|---|---|---|---|"]
    for check in checks:
        detail = " ".join(check.detail.split()).replace("|", "\\|")
        lines.append(f"| {check.area} | {check.name} | {OUTCOMES[check.status]} | {detail} |")
    return "\n".join(lines)


def is_there(package: str) -> bool:
    """Return whether a distribution is installed."""
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


if __name__ == "__main__":
    raise SystemExit(main())
