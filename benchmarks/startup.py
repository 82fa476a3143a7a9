"""CPU time of ``edgekit --help`` over a bare Python, whole processes in turns.

    python benchmarks/startup.py [--rounds 20]

Prints the medians in milliseconds as JSON; the goal is at most 60 ms more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.process_cost import measure  # noqa: E402

COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "help": [sys.executable, "-m", "edgekit", "--help"],
    "import": [sys.executable, "-c", "import edgekit"],
}


def main() -> int:
    """Run the commands in turns; 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            for name, command in COMMANDS.items():
                cost = measure(command, log=Path(folder) / "log.txt")
                if cost.status:
                    print(cost.tail, file=sys.stderr)
                    return 1
                times[name].append(cost.cpu_s * 1e3)
    medians = {name: statistics.median(values) for name, values in times.items()}
    added = {f"{name}_added_ms": medians[name] - medians["python"] for name in ("help", "import")}
    print(json.dumps({"rounds": arguments.rounds, "cpu_ms": medians, **added}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
