"""Build in a child process, so that a builder that dies takes nobody with it.

TensorRT's builder can end a process: boards with 4 to 8 GB run out of memory in it, and two
releases crash without a GPU. The child writes one JSON document per line (``saying.py``); the
parent watches its memory, shows how far it is, and says why it died.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from edgekit.errors import TensorRtError
from edgekit.runtimes.tensorrt.memory import available_mib, count_oom_kills, peak_mib, resident_mib
from edgekit.runtimes.tensorrt.patterns import NO_MEMORY

_POLL_S = 0.25
_END_S = 5.0
"""What a child gets to end after it was asked to."""

_KEPT_LINES = 40
_SPARE_MIB = 192
"""The system's free memory below which the child is ended, before the kernel ends another."""


@dataclass(frozen=True)
class Limits:
    """What a build may take.

    Args:
        memory_mib: Resident memory of the child; None bounds it by what the system has.
        timeout_s: Seconds; None waits for ever.
    """

    memory_mib: int | None = None
    timeout_s: float | None = None


@dataclass(frozen=True)
class Status:
    """How far the child is.

    Args:
        stage: What it does.
        percent: Of the stage; None where the release does not tell.
        elapsed_s: Since it started.
        memory_mib: What it holds; None where the system does not tell.
    """

    stage: str
    percent: int | None
    elapsed_s: float
    memory_mib: int | None

    def __str__(self) -> str:
        parts = [self.stage]
        parts += [] if self.percent is None else [f"{self.percent}%"]
        parts.append(f"{self.elapsed_s:.0f} s")
        parts += [] if self.memory_mib is None else [f"{self.memory_mib} MiB"]
        return ", ".join(parts)


@dataclass(frozen=True)
class ChildResult:
    """What a child that succeeded tells.

    Args:
        facts: Its last document.
        seconds: From start to end.
        peak_mib: The most that it held; None where the system does not tell.
        warnings: What TensorRT warned of.
    """

    facts: Mapping[str, Any]
    seconds: float
    peak_mib: int | None
    warnings: tuple[str, ...] = ()


class OutOfMemory(TensorRtError):
    """The child had too little memory, by its own words or ended by the kernel or by us.

    Smaller may do.
    """


@dataclass
class _Talk:
    """What the child has said so far."""

    stage: str = "start"
    percent: int | None = None
    facts: Mapping[str, Any] | None = None
    error: str = ""
    warnings: list[str] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            self.noise = [*self.noise, line][-_KEPT_LINES:]
            return
        if "stage" in said:
            self.stage, self.percent = str(said["stage"]), None
        if "percent" in said:
            self.percent = int(said["percent"])
        if "warning" in said:
            self.warnings.append(str(said["warning"]))
        if "error" in said:
            self.error = str(said["error"])
        if "done" in said:
            self.facts = dict(said["done"])


def run_child(
    command: Sequence[str],
    *,
    limits: Limits | None = None,
    watch: Callable[[Status], None] | None = None,
) -> ChildResult:
    """Run a builder and wait for it; it never outlives this call.

    Args:
        command: Arguments for this interpreter, such as ``("-m", "package.module", "FILE")``.
        limits: What it may take.
        watch: Told about four times a second how far it is.

    Returns:
        What it found.

    Raises:
        OutOfMemory: TensorRT had too little memory, the kernel killed it, or its memory passed
            the limit.
        TensorRtError: It failed, crashed, or took too long; its own words are in the message.
    """
    bounds = limits or Limits()
    kills_before = count_oom_kills()
    talk, start = _Talk(), time.monotonic()
    # A group of its own: Ctrl-C in a terminal reaches us, and we end it.
    child = subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,  # it ends itself when this pipe does: with us, however we end
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    peak: int | None = None
    try:
        for line in _lines(child.stdout):
            if line is not None:
                talk.take(line)
                continue
            elapsed_s = time.monotonic() - start
            memory = resident_mib(child.pid)
            peak = max(peak or 0, memory or 0, peak_mib(child.pid) or 0) or None
            if watch is not None:
                watch(Status(talk.stage, talk.percent, elapsed_s, memory))
            _check(bounds, memory, elapsed_s, talk)
        status = child.wait()
    finally:
        _end(child)
    if status == 0 and talk.facts is not None:
        seconds = time.monotonic() - start
        return ChildResult(talk.facts, seconds, peak, tuple(talk.warnings))
    raise _why(status, talk, was_killed_for_memory=count_oom_kills() > kills_before)


def _lines(stream: IO[str] | None) -> Iterator[str | None]:
    """Yield each line as it comes, and None at every poll; ends with the stream."""
    assert stream is not None  # it was asked for
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        with suppress(ValueError):  # closed under us, after the child was ended
            for line in stream:
                lines.put(line.rstrip("\n"))
        lines.put(None)

    threading.Thread(target=read, name="edgekit-build-output", daemon=True).start()
    next_poll = time.monotonic()
    while True:
        try:
            line = lines.get(timeout=_POLL_S)
            if line is None:
                return
            yield line
        except queue.Empty:
            pass
        if time.monotonic() >= next_poll:
            next_poll = time.monotonic() + _POLL_S
            yield None


def _check(bounds: Limits, memory: int | None, elapsed_s: float, talk: _Talk) -> None:
    if bounds.timeout_s is not None and elapsed_s > bounds.timeout_s:
        raise TensorRtError(
            f"the build was ended after {elapsed_s:.0f} s, in {talk.stage!r}; the limit was "
            f"{bounds.timeout_s:.0f} s: give it longer, or a lower optimization level"
        )
    if bounds.memory_mib is not None and memory is not None and memory > bounds.memory_mib:
        raise OutOfMemory(
            f"the build took {memory} MiB in {talk.stage!r}; the limit was "
            f"{bounds.memory_mib} MiB: allow more, or make the workspace smaller"
        )
    left = available_mib()
    if left is not None and left < _SPARE_MIB:
        raise OutOfMemory(
            f"the build was ended in {talk.stage!r}: {left} MiB of the system's memory were left "
            "for all; add swap, end other programs and the desktop, or make the workspace smaller"
        )


def _why(status: int, talk: _Talk, *, was_killed_for_memory: bool) -> TensorRtError:
    if talk.error:
        is_short = NO_MEMORY in talk.error or talk.error.startswith(MemoryError.__name__)
        return (OutOfMemory if is_short else TensorRtError)(talk.error)
    said = "".join(f"\n  {line}" for line in talk.noise[-8:])
    if status == -signal.SIGKILL:
        cause = (
            "the system ran out of memory and killed the build"
            if was_killed_for_memory
            else "the build was killed, as the system does when memory runs out"
        )
        return OutOfMemory(
            f"{cause}, in {talk.stage!r}; add swap, end other programs and the desktop, or make "
            f"the workspace smaller{said}"
        )
    if "MemoryError" in said or "std::bad_alloc" in said:
        return OutOfMemory(f"the build ran out of memory in {talk.stage!r}{said}")
    if status < 0:
        name = signal.Signals(-status).name
        return TensorRtError(
            f"TensorRT crashed ({name}) in {talk.stage!r}; this process is unharmed. Run "
            f"edgekit doctor: a driver or library of another release does this{said}"
        )
    return TensorRtError(
        f"the build ended with status {status} in {talk.stage!r} and no word why{said}"
    )


def _end(child: subprocess.Popen[str]) -> None:
    """End the child and all that it started; nothing of it stays."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, number)
            with suppress(subprocess.TimeoutExpired):
                child.wait(_END_S)
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()
