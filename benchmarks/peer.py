"""Where the peer converter is, how it is called, and what a process costs.

The peer is onnx2tf 2.6.9, the release with a fast backend of its own. Its pinned
dependencies clash with EdgeKit's, so it lives in an environment of its own (Python 3.12):

    python3.12 -m venv PEER && PEER/bin/pip install onnx2tf==2.6.9 onnxsim
    export EDGEKIT_ONNX2TF_PYTHON=PEER/bin/python
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "EDGEKIT_ONNX2TF_PYTHON"
_POLL_S = 0.02


@dataclass(frozen=True)
class Cost:
    """What a process and its children took.

    Args:
        status: Exit status; negative is the signal that ended it.
        wall_s: From start to end.
        cpu_s: User and system time, of the children too.
        peak_mb: Largest resident set of any one of the processes (wait4's ru_maxrss).
        tree_peak_mb: Largest sum of the resident sets, polled every 20 ms; pages that
            processes share count in each.
        tail: End of what it printed.
    """

    status: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    tree_peak_mb: float
    tail: str


def find_peer() -> Path | None:
    """Return the peer's Python, or None where the variable does not name one."""
    path = Path(os.environ.get(VARIABLE, ""))
    return path if path.is_file() else None


def peer_version(python: Path) -> str:
    """Return the installed version of onnx2tf."""
    code = "import importlib.metadata as m; print(m.version('onnx2tf'))"
    return subprocess.check_output([python, "-c", code], text=True).strip()


def peer_command(
    python: Path, model: Path, output: Path, *, verify: bool, shapes: dict[str, tuple[int, ...]]
) -> list[str]:
    """Return the peer's command line: quiet; with its own numerical check on request."""
    command = [str(python.parent / "onnx2tf"), "-i", str(model), "-o", str(output), "-n"]
    if verify:
        # Two samples, as many as EdgeKit runs; its default is ten.
        command += ["--eval_with_onnx", "--eval_num_samples", "2"]
    if shapes:
        sizes = [f"{name}:{','.join(map(str, shape))}" for name, shape in shapes.items()]
        command += ["--overwrite_input_shape", *sizes]
    return command


def peer_environment(python: Path) -> dict[str, str]:
    """Return an environment where the peer finds onnxsim: it looks it up on PATH."""
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path}


def peer_file(output: Path) -> Path | None:
    """Return the float32 file that the peer wrote, or None."""
    return next(iter(sorted(output.glob("*_float32.tflite"))), None)


def measure(
    command: list[str], *, log: Path, env: dict[str, str] | None = None, limit_s: float = 900
) -> Cost:
    """Run a command to its end and return what it cost.

    Args:
        command: Program and arguments.
        log: File for what it prints.
        env: Environment; None is this process's.
        limit_s: It is killed after this time.
    """
    with log.open("wb") as stream:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
        done, sums = threading.Event(), [0.0]
        watcher = threading.Thread(target=_watch, args=(process.pid, sums, done, limit_s))
        watcher.start()
        # Unlike Popen.wait, wait4 tells the resources of the child and those it waited for.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        done.set()
        watcher.join()
        process.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text(errors="replace").strip()
    return Cost(
        status=process.returncode,
        wall_s=wall,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mb=usage.ru_maxrss / 1024,
        tree_peak_mb=max(sums[0], usage.ru_maxrss / 1024),
        tail=text[-600:],
    )


def _watch(pid: int, sums: list[float], done: threading.Event, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not done.wait(_POLL_S):
        sums[0] = max(sums[0], sum(_resident_mb(each) for each in _tree(pid)))
        if time.monotonic() > deadline:
            os.killpg(pid, 9)
            return


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in _tree(int(child)))]


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
