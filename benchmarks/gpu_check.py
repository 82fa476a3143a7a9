"""Run what needs an NVIDIA GPU and print a report in Markdown.

    python benchmarks/gpu_check.py [--section cuda]

Every check is run on the device and compared with what the host computes; a figure is the
median of its rounds. Status 0: all ran well; 1: one failed; 3: there is no GPU, nothing was run.
To add a section: write ``check_NAME() -> list[Result]`` in ``gpu_NAME.py``, and add it to
``SECTIONS``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_cuda import check_cuda  # noqa: E402
from benchmarks.gpu_results import Result, report  # noqa: E402
from edgekit.errors import EdgeKitError  # noqa: E402
from edgekit.runtimes.cuda import open_cuda  # noqa: E402

SECTIONS: dict[str, Callable[[], list[Result]]] = {"cuda": check_cuda}


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
    results = [result for name in wanted for result in SECTIONS[name]()]
    print(report(results))
    return int(any(result.outcome == "FAILED" for result in results))


if __name__ == "__main__":
    raise SystemExit(main())
