"""What a session costs before it is warm: load time, first inference, peak memory.

Each is measured in a child process of its own, because neither a second load nor memory
that another engine has taken can be told apart within one process.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from edgekit.errors import EngineError

_MARK = "edgekit-footprint:"


@dataclass(frozen=True)
class Footprint:
    """Costs of one session in a fresh process.

    Args:
        import_ms: Importing the engine.
        load_ms: From the file to a session that is ready, the import not included.
        first_inference_ms: The first call, in which engines pack weights and compile.
        peak_memory_mb: Largest resident memory of the process, in 10^6 bytes.
        baseline_memory_mb: The same before the engine was imported: Python, numpy, EdgeKit.
    """

    import_ms: float
    load_ms: float
    first_inference_ms: float
    peak_memory_mb: float
    baseline_memory_mb: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)


def measure_footprint(
    source: str | Path,
    *,
    device: str,
    artifact: str | None = None,
    threads: int | None = None,
    sizes: Mapping[str, int] | None = None,
    timeout_s: float = 300,
) -> Footprint:
    """Load the model in a child process, run it twice, and return what that cost.

    Args:
        source: Path of a bundle or of a plain model file.
        device: Name of the runtime.
        artifact: Name of the artifact; None takes the runtime's first.
        threads: CPU threads of one call; None leaves it to the engine.
        sizes: Size of each dynamic dimension by its name; one that is absent is 1.
        timeout_s: Seconds after which the child is stopped.

    Raises:
        EngineError: The child failed or took too long; its last words are in the message.
    """
    job = json.dumps(
        {
            "source": str(source),
            "device": device,
            "artifact": artifact,
            "threads": threads,
            "sizes": dict(sizes or {}),
        }
    )
    command = [sys.executable, "-m", "edgekit.runtimes.footprint", job]
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{device} took over {timeout_s} s to load and run {source}") from error
    found = re.search(rf"^{_MARK}(.*)$", child.stdout, re.M)
    if child.returncode != 0 or found is None:
        words = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise EngineError(f"{device} failed on {source}, status {child.returncode}: {words}")
    return Footprint(**json.loads(found.group(1)))


def _measure(job: dict[str, Any]) -> Footprint:
    from edgekit.runtimes import RUNTIMES
    from edgekit.runtimes.select import load
    from edgekit.runtimes.timing import example_inputs

    baseline = _peak_bytes()
    start = perf_counter()
    RUNTIMES[job["device"]].load()
    imported = perf_counter()
    session = load(
        job["source"], device=job["device"], artifact=job["artifact"], threads=job["threads"]
    )
    loaded = perf_counter()
    inputs = example_inputs(session.inputs, sizes=job["sizes"])
    before = perf_counter()
    session.run(inputs)
    first = perf_counter() - before
    session.run(inputs)
    return Footprint(
        import_ms=(imported - start) * 1e3,
        load_ms=(loaded - imported) * 1e3,
        first_inference_ms=first * 1e3,
        peak_memory_mb=_peak_bytes() / 1e6,
        baseline_memory_mb=baseline / 1e6,
    )


def _peak_bytes() -> int:
    """Return the largest resident memory that this process has had.

    On Linux from VmHWM: ru_maxrss would start at the parent's peak, because exec keeps
    the maximum over the memory that it replaces (fs/exec.c, setmax_mm_hiwater_rss).
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.M)
        if found is not None:
            return int(found.group(1)) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    sys.stdout.write(f"\n{_MARK}{json.dumps(_measure(json.loads(sys.argv[1])).to_json())}\n")
