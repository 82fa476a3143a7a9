"""Every artifact that this machine can run, side by side."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from time import perf_counter
from typing import Any

from edgekit.errors import EngineError
from edgekit.runtimes.choice import Candidate, choose
from edgekit.runtimes.footprint import Footprint, measure_footprint
from edgekit.runtimes.jetson.conditions import Conditions, under_conditions
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.session import Array, Session
from edgekit.runtimes.source import Source
from edgekit.runtimes.timing import Latency, example_inputs, time_in_turns

Progress = Callable[[str], None]
"""Told the name of each stage as it starts."""


@dataclass(frozen=True)
class BenchOptions:
    """How to measure.

    Args:
        rounds: Timed calls of each session.
        warmup: Calls of each before, not timed.
        limit_s: Seconds for the timed rounds together; at least a few are always run.
        threads: CPU threads of one call; None leaves it to the engine.
        hint: ``"latency"`` or ``"throughput"``.
        sizes: Size of each dynamic dimension by its name; one that is absent is as in
            the bundle's first golden, or 1.
        with_footprint: Whether to measure load time and memory in child processes.
    """

    rounds: int = 100
    warmup: int = 10
    limit_s: float = 30
    threads: int | None = None
    hint: str = "latency"
    sizes: Mapping[str, int] | None = None
    with_footprint: bool = True


@dataclass(frozen=True)
class BenchResult:
    """Figures of one artifact on one runtime.

    Args:
        runtime: Name in ``RUNTIMES``.
        version: The engine's own.
        artifact: Name of the artifact.
        inference_precision: What the engine computes in.
        size_bytes: The artifact's files together.
        latency: One call after the other, in turns with the others.
        throughput_per_s: Results per second of ``Session.map`` over a stream.
        footprint: Load time, first inference and memory; None where not asked for.
    """

    runtime: str
    version: str
    artifact: str
    inference_precision: str
    size_bytes: int
    latency: Latency
    throughput_per_s: float
    footprint: Footprint | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "runtime": self.runtime,
            "version": self.version,
            "artifact": self.artifact,
            "inference_precision": self.inference_precision,
            "size_bytes": self.size_bytes,
            "latency": self.latency.to_json(),
            "throughput_per_s": self.throughput_per_s,
            "footprint": None if self.footprint is None else self.footprint.to_json(),
        }


@dataclass(frozen=True)
class BenchReport:
    """All results, and what could not be measured.

    Args:
        results: The runtime that suits this machine best first.
        skipped: Per runtime or artifact that was left out, the reason.
        conditions: Power mode, clocks, heat and rails of a Jetson while it was measured.
    """

    results: tuple[BenchResult, ...]
    skipped: tuple[str, ...]
    conditions: Conditions = field(default_factory=Conditions)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict; it says on what machine it was measured."""
        return {
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "results": [result.to_json() for result in self.results],
            "conditions": self.conditions.to_json(),
            "skipped": list(self.skipped),
        }


def bench(
    source: str | Path,
    *,
    device: str = "auto",
    artifact: str | None = None,
    options: BenchOptions | None = None,
    progress: Progress | None = None,
) -> BenchReport:
    """Measure every artifact on every runtime that can run it here.

    Args:
        source: Path of a bundle or of a plain model file.
        device: ``"auto"`` measures all runtimes, a runtime's name only that one.
        artifact: Name of the only artifact to measure; None is all.
        options: How to measure.
        progress: Told the name of each stage as it starts.

    Raises:
        UsageError: There is no such file, device or artifact.
        BundleError: The bundle cannot be read.
        RuntimeUnavailableError: Nothing here can run any of it.
    """
    options = options or BenchOptions()
    tell = progress or (lambda _: None)
    opened = Source(source)
    options = replace(options, sizes={**opened.sizes(), **(options.sizes or {})})
    choice = choose(opened.artifacts, device=device, artifact=artifact)
    failures: list[str] = []
    with ExitStack() as stack:
        runs: list[_Run] = []
        for candidate in choice.candidates:
            tell(f"load {candidate}")
            try:
                session = stack.enter_context(_open(opened, candidate, options))
            except (EngineError, ImportError) as error:
                failures.append(f"{candidate}: {error}")
            else:
                runs.append(_Run(candidate, session, _feed(session, options)))
        if not runs:
            raise choice.to_error(failures)
        tell(f"time {len(runs)} in turns")
        with under_conditions() as conditions:
            latencies = time_in_turns(
                {str(run.candidate): run.call for run in runs},
                rounds=options.rounds,
                warmup=options.warmup,
                limit_s=options.limit_s,
            )
            per_s = {str(run.candidate): _per_s(run, latencies[str(run.candidate)]) for run in runs}
    results: list[BenchResult] = []
    for run in runs:
        if options.with_footprint:
            tell(f"measure the memory of {run.candidate}")
        results.append(
            BenchResult(
                runtime=run.candidate.runtime,
                version=run.session.version,
                artifact=run.candidate.artifact.name,
                inference_precision=run.session.inference_precision,
                size_bytes=opened.size_bytes(run.candidate.artifact),
                latency=latencies[str(run.candidate)],
                throughput_per_s=per_s[str(run.candidate)],
                footprint=_footprint(source, run.candidate, options),
            )
        )
    return BenchReport(tuple(results), (*failures, *choice.refused), conditions)


@dataclass(frozen=True)
class _Run:
    candidate: Candidate
    session: Session
    feed: Mapping[str, Array]

    def call(self) -> object:
        return self.session.run(self.feed)


def _open(opened: Source, candidate: Candidate, options: BenchOptions) -> Session:
    wanted = SessionOptions(threads=options.threads, hint=options.hint)
    return opened.open(candidate, wanted, reason="measured by bench")


def _feed(session: Session, options: BenchOptions) -> Mapping[str, Array]:
    return example_inputs(session.inputs, sizes=options.sizes)


def _per_s(run: _Run, latency: Latency) -> float:
    """Return the results per second of a stream of as many inputs as calls were timed."""
    start = perf_counter()
    for _ in run.session.map(repeat(run.feed, latency.calls)):
        pass
    return latency.calls / (perf_counter() - start)


def _footprint(source: str | Path, candidate: Candidate, options: BenchOptions) -> Footprint | None:
    if not options.with_footprint:
        return None
    return measure_footprint(
        source,
        device=candidate.runtime,
        artifact=candidate.artifact.name,
        threads=options.threads,
        sizes=options.sizes,
    )
