"""A builder's child: its words, its memory, its death. The children here are real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit.errors import TensorRtError
from edgekit.runtimes.tensorrt.child import Limits, OutOfMemory, Status, run_child
from edgekit.runtimes.tensorrt.explain import explain
from edgekit.runtimes.tensorrt.memory import (
    available_mib,
    count_oom_kills,
    peak_mib,
    resident_mib,
)

START = "import os, signal, time, sys\nfrom edgekit.runtimes.tensorrt.saying import *\n"


def _run(
    body: str, *, limits: Limits | None = None, seen: list[Status] | None = None
) -> dict[str, object]:
    watch = None if seen is None else seen.append
    return dict(run_child(("-c", START + body), limits=limits, watch=watch).facts)


def test_what_the_child_found_comes_back() -> None:
    facts = _run("say(stage='parse')\nprint('noise of a library')\nfinish({'nbytes': 7})")

    assert facts == {"nbytes": 7}


def test_warnings_are_kept() -> None:
    result = run_child(("-c", START + "say(warning='slow path')\nfinish({})"))

    assert result.warnings == ("slow path",)
    assert result.seconds > 0


def test_the_parent_is_told_how_far_it_is() -> None:
    seen: list[Status] = []

    _run("say(stage='build')\nsay(percent=40)\ntime.sleep(0.8)\nfinish({})", seen=seen)

    told = seen[-1]
    assert (told.stage, told.percent) == ("build", 40)
    assert told.elapsed_s >= 0.5
    assert str(told).startswith("build, 40%, ")


def test_memory_that_tensorrt_lacks_is_a_reason_to_build_smaller() -> None:
    line = "Error Code 2: OutOfMemory (Requested size was 680669136 bytes.)"  # rtx 1.7.1
    meaning = explain([line])
    assert meaning is not None

    with pytest.raises(OutOfMemory, match="not enough memory is free for it"):
        _run(f"say(error={meaning.cause!r})\nsys.exit(1)")
    with pytest.raises(OutOfMemory, match="MemoryError: of 2 GB"):
        _run("say(error='MemoryError: of 2 GB')\nsys.exit(1)")


def test_the_childs_own_error_is_the_message() -> None:
    with pytest.raises(TensorRtError, match="the parser refused node 'conv_3'"):
        _run("say(error=\"the parser refused node 'conv_3'\")\nsys.exit(1)")


def test_a_crash_is_named_and_harms_nobody() -> None:
    with pytest.raises(TensorRtError, match=r"crashed.*SIGSEGV.*'deserialize'"):
        _run("say(stage='deserialize')\nos.kill(os.getpid(), signal.SIGSEGV)\ntime.sleep(9)")


def test_a_kill_is_explained_as_want_of_memory() -> None:
    with pytest.raises(OutOfMemory, match=r"killed.*add swap"):
        _run("say(stage='build')\nos.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(9)")


def test_a_failed_allocation_is_want_of_memory() -> None:
    with pytest.raises(OutOfMemory, match="ran out of memory"):
        _run("raise MemoryError")


def test_a_child_over_its_memory_is_ended() -> None:
    body = (
        "say(stage='build')\nheld = bytearray(300 << 20)\nheld[::4096] = b'x' * len(held[::4096])"
    )

    with pytest.raises(OutOfMemory, match=r"the limit was 200 MiB"):
        _run(body + "\ntime.sleep(60)", limits=Limits(memory_mib=200))


def test_a_child_over_its_time_is_ended() -> None:
    start = time.monotonic()
    with pytest.raises(TensorRtError, match="the limit was 1 s"):
        _run("say(stage='build')\ntime.sleep(60)", limits=Limits(timeout_s=1))

    assert time.monotonic() - start < 20


def test_a_child_without_a_word_is_an_error_with_its_last_lines() -> None:
    with pytest.raises(TensorRtError, match=r"status 3(?s:.)*libnvinfer\.so not found"):
        _run("print('libnvinfer.so not found')\nsys.exit(3)")


def test_whatever_ends_the_parents_wait_ends_the_child(tmp_path: Path) -> None:
    pids = tmp_path / "pid"

    def interrupt(status: Status) -> None:
        if pids.exists() and pids.read_text():
            raise KeyboardInterrupt

    body = f"open({str(pids)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        run_child(("-c", START + body), watch=interrupt)

    with pytest.raises(ProcessLookupError):
        os.kill(int(pids.read_text()), 0)


_PARENT = """
from edgekit.runtimes.tensorrt.child import run_child
run_child(("-c", {child!r}))
"""


def test_a_killed_parent_leaves_no_child(tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    child = START + (
        f"end_with_parent()\nopen({str(pids)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", _PARENT.format(child=child)]) as parent:
        while not (pids.exists() and pids.read_text()):
            time.sleep(0.05)
        parent.send_signal(signal.SIGKILL)
        parent.wait(30)

    pid, deadline = int(pids.read_text()), time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_memory_is_read_from_proc(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text("Name:\tx\nVmHWM:\t  409600 kB\nVmRSS:\t  204800 kB\n")
    (tmp_path / "meminfo").write_text("MemTotal:  8000000 kB\nMemAvailable:    1048576 kB\n")
    (tmp_path / "vmstat").write_text("pgfault 5\noom_kill 3\n")

    assert resident_mib(7, proc=tmp_path) == 200
    assert peak_mib(7, proc=tmp_path) == 400
    assert available_mib(proc=tmp_path) == 1024
    assert count_oom_kills(proc=tmp_path) == 3
    assert resident_mib(8, proc=tmp_path) is None
