"""What a command costs: wall time, CPU time and peak memory of its whole process tree.

The command is started by a small process of its own (this file run as a script): Linux
counts the parent's memory at the time of the fork into the child's ru_maxrss, so a large
benchmark process would be measured instead of a small converter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.02
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


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
    tail: str = ""


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
    # -I -S: nothing but the standard library, so that this parent stays small.
    starter = [sys.executable, "-I", "-S", __file__, str(limit_s), str(log), *command]
    done = subprocess.run(starter, env=env, stdout=subprocess.PIPE, check=True)
    tail = log.read_text(errors="replace").strip()[-600:]
    return Cost(**json.loads(done.stdout), tail=tail)


def _run(command: list[str], *, log: Path, limit_s: float) -> dict[str, float]:
    with log.open("wb") as stream:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        done, sums = threading.Event(), [0.0]
        watcher = threading.Thread(target=_watch, args=(process.pid, sums, done, limit_s))
        watcher.start()
        # Unlike Popen.wait, wait4 tells the resources of the child and those it waited for.
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        done.set()
        watcher.join()
        process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "status": process.returncode,
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        "tree_peak_mb": max(sums[0], usage.ru_maxrss / 1024),
    }


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
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MB
    except (OSError, IndexError):
        return 0.0


if __name__ == "__main__":
    print(json.dumps(_run(sys.argv[3:], log=Path(sys.argv[2]), limit_s=float(sys.argv[1]))))
