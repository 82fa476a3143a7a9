"""Two bundles timed in turns on this machine, artifact by artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from edgekit.bundle import Bundle
from edgekit.errors import EngineError
from edgekit.graph import Array
from edgekit.report.figures import Pair
from edgekit.report.limits import LATENCY
from edgekit.runtimes.choice import Candidate, choose
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.session import Session
from edgekit.runtimes.source import Source
from edgekit.runtimes.timing import example_inputs, time_in_turns

Progress = Callable[[str], None]

_Key = tuple[str, str, int]  # artifact, runtime, and 0 for before or 1 for after

_NOT_HERE = "nothing on this machine runs it in both bundles"


@dataclass(frozen=True)
class Timing:
    """How to measure.

    Args:
        rounds: Timed calls of each session.
        limit_s: Seconds for all of them.
        threads: CPU threads of one call; None leaves it to the engine.
    """

    rounds: int = 100
    limit_s: float = 30.0
    threads: int | None = None


def measure_latencies(
    before: Bundle, after: Bundle, timing: Timing, *, progress: Progress
) -> tuple[Pair, ...]:
    """Return the fastest call of every artifact that both have, on every runtime here.

    All sessions of both bundles are timed in one set of rounds, so that what else the machine
    does hits them alike; the fastest of many calls is what it disturbs least. An artifact whose
    files are the same is timed once, and is exactly as fast. One that does not run here is
    unknown, with the reason.

    Raises:
        UsageError: An input's rank is unknown.
    """
    names = [item.name for item in before.artifacts]
    names = [item.name for item in after.artifacts if item.name in names]
    found: list[Pair] = []
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        calls = _open_all(stack, (before, after), timing, failures=failures, progress=progress)
        if calls:
            progress(f"time {len(calls)} in turns")
            named = {str(number): call for number, call in enumerate(calls.values())}
            latencies = time_in_turns(named, rounds=timing.rounds, limit_s=timing.limit_s)
            fastest_ms = [latency.min_ms for latency in latencies.values()]
            found = _pairs(dict(zip(calls, fastest_ms, strict=True)))
    timed = {pair.artifact for pair in found}
    lacking = [name for name in names if name not in timed]
    unknown = [
        Pair(name, LATENCY, "ms", None, None, note=failures.get(name, _NOT_HERE))
        for name in lacking
    ]
    return (*found, *unknown)


def _open_all(
    stack: ExitStack,
    bundles: tuple[Bundle, Bundle],
    timing: Timing,
    *,
    failures: dict[str, str],
    progress: Progress,
) -> dict[_Key, Callable[[], object]]:
    """Return what to time; what cannot be opened goes into ``failures``, by artifact."""
    sources = Source(bundles[0]), Source(bundles[1])
    sides = [_candidates(source) for source in sources]
    calls: dict[_Key, Callable[[], object]] = {}
    for artifact, runtime in (key for key in sides[0] if key in sides[1]):
        progress(f"load {artifact} with {runtime}")
        count = 1 if _is_same(bundles, artifact) else 2
        try:
            opened = [
                _call(stack, sources[side], sides[side][artifact, runtime], timing)
                for side in range(count)
            ]
        except (EngineError, ImportError) as error:
            failures[artifact] = str(error)
            continue
        calls |= {(artifact, runtime, side): call for side, call in enumerate(opened)}
    return calls


def _pairs(times_ms: Mapping[_Key, float]) -> list[Pair]:
    return [
        Pair(
            artifact=artifact,
            figure=LATENCY,
            of=f"fastest ms on {runtime}",
            before=time_ms,
            after=times_ms.get((artifact, runtime, 1), time_ms),
            note="measured now, in turns"
            if (artifact, runtime, 1) in times_ms
            else "measured now, once: the files are the same",
        )
        for (artifact, runtime, side), time_ms in times_ms.items()
        if side == 0
    ]


def _is_same(bundles: tuple[Bundle, Bundle], name: str) -> bool:
    """Whether both hold the same files for an artifact, and feed it alike."""
    one, other = (bundle.artifact(name) for bundle in bundles)
    hashes = [
        {role: bundle.manifest.files[path].sha256 for role, path in item.files.items()}
        for bundle, item in zip(bundles, (one, other), strict=True)
    ]
    return hashes[0] == hashes[1] and (one.inputs, one.outputs, one.recipe) == (
        other.inputs,
        other.outputs,
        other.recipe,
    )


def _candidates(source: Source) -> Mapping[tuple[str, str], Candidate]:
    """Return what runs here, by artifact and runtime."""
    choice = choose(source.artifacts)
    return {(item.artifact.name, item.runtime): item for item in choice.candidates}


def _call(
    stack: ExitStack, source: Source, candidate: Candidate, timing: Timing
) -> Callable[[], object]:
    options = SessionOptions(threads=timing.threads)
    session = stack.enter_context(source.open(candidate, options, reason="measured by diff"))
    return _on_example(session, example_inputs(session.inputs, sizes=source.sizes()))


def _on_example(session: Session, feed: Mapping[str, Array]) -> Callable[[], object]:
    return lambda: session.run(feed)
