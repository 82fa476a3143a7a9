"""Is int8 worth it here? Float and int8 are timed in turns, and the winner is told in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.bundle import ContractPoint
from edgekit.calibration.budget import Budget
from edgekit.errors import EdgeKitError
from edgekit.graph import Array, Graph
from edgekit.pipeline.build import Built, emit
from edgekit.pipeline.check import native_runtime, why_not_here
from edgekit.pipeline.progress import Progress, ignore
from edgekit.preprocess import Preprocess
from edgekit.runtimes import RUNTIMES
from edgekit.runtimes.base import EngineSession
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.plain import PlainFiles
from edgekit.runtimes.session import Session
from edgekit.runtimes.timing import Latency, time_in_turns
from edgekit.target import Target

ALIKE = 1.05
"""Medians closer than this are not told apart: another run swaps them."""

_ROUNDS, _WARMUP, _LIMIT_S = 60, 5, 2.0


@dataclass(frozen=True)
class Timed:
    """One way to run the model.

    Args:
        runtime: Name in ``RUNTIMES``.
        precision: What it computes in: ``"fp32"``, ``"bf16"``, ``"int8"``.
        latency: Of one call.
        nbytes: Size of the artifact.
        value: The metric; NaN where it was not measured.
    """

    runtime: str
    precision: str
    latency: Latency
    nbytes: int
    value: float = math.nan

    @property
    def median_ms(self) -> float:
        """Half of the calls took no longer."""
        return self.latency.median_ms

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "runtime": self.runtime,
            "precision": self.precision,
            "median_ms": self.median_ms,
            "min_ms": self.latency.min_ms,
            "nbytes": self.nbytes,
        }


class Worth:
    """The metric of sessions, as far as there is time to measure it.

    Args:
        value: Measures the metric of a session.
        known: What is known already, by artifact name.
        budget: No measurement begins that would end later, as far as the longest one tells.
    """

    def __init__(
        self,
        value: Callable[[Session], float],
        *,
        known: Mapping[str, float],
        budget: Budget,
    ) -> None:
        self.budget = budget
        self._value = value
        self._known = known
        self._longest_s = 0.0

    def __call__(self, session: Session) -> float:
        """Return the session's metric; NaN where there is no time for it."""
        known = self._known.get(session.artifact.name)
        if known is not None:
            return known
        if not self.budget.fits(self._longest_s):
            return math.nan
        start = self.budget.clock()
        value = self._value(session)
        self._longest_s = max(self._longest_s, self.budget.clock() - start)
        return value


@dataclass(frozen=True)
class Advice:
    """What the timing says.

    Args:
        lines: A sentence a runtime: what is fastest here, and by how much.
        points: Accuracy against latency, of every way that was timed.
    """

    lines: tuple[str, ...] = ()
    points: tuple[ContractPoint, ...] = ()


def advise(
    built: Sequence[Built],
    graph: Graph,
    feed: Callable[[Session], Mapping[str, Array]],
    stage: Path,
    *,
    worth: Worth,
    preprocess: Mapping[str, Preprocess],
    progress: Progress,
) -> Advice:
    """Return what is fastest here, and what each way is worth.

    Args:
        built: The quantized artifacts.
        graph: The float model.
        feed: Gives a sample as a session takes it.
        stage: Where the float artifacts are put together.
        worth: Gives the metric of a session. A way that there is no time to measure is timed,
            and has no point.
        preprocess: By input name.
        progress: Told what is being timed.
    """
    lines: list[str] = []
    points: list[ContractPoint] = []
    for item in built:
        if why_not_here(item.artifact.format):
            continue
        runtime = native_runtime(item.artifact.format) or ""
        progress(f"time float and {item.artifact.precision} on {runtime}")
        try:
            timed = _time(
                item, graph, feed, stage, worth=worth, runtime=runtime, preprocess=preprocess
            )
        except EdgeKitError as error:
            lines.append(f"{runtime}: not timed: {error}")
            continue
        lines.append(verdict(timed))
        points += [
            ContractPoint(runtime, way.precision, way.value, way.median_ms)
            for way in timed
            if math.isfinite(way.value)
        ]
    return Advice(tuple(lines), tuple(points))


def verdict(timed: Sequence[Timed]) -> str:
    """Return what is fastest, in words.

    Args:
        timed: Ways to run one model on one runtime, one of them fp32.
    """
    ranked = sorted(timed, key=lambda item: item.median_ms)
    best, base = ranked[0], next(item for item in timed if item.precision == "fp32")
    close = [item for item in ranked if item.median_ms <= best.median_ms * ALIKE]
    smallest = min(timed, key=lambda item: item.nbytes)
    figures = ", ".join(f"{item.precision} {item.median_ms:.3f} ms" for item in ranked)
    size = ""
    if smallest.nbytes * ALIKE < base.nbytes:
        size = (
            f"; {smallest.precision} takes {smallest.nbytes / base.nbytes:.0%} of the space of fp32"
        )
    if base in close:
        alike = " and ".join(item.precision for item in close if item is not base)
        said = f"{alike} is as fast as fp32" if alike else "fp32 is the fastest"
        if alike and len(close) > 2:
            said = f"{alike} are as fast as fp32"
        kept = "" if size else ": keep the float model"
        return f"{best.runtime}: {said} here ({figures}){kept}{size}"
    if len(close) > 1:
        names = " and ".join(item.precision for item in close)
        said = f"{names} are alike"
    else:
        said = f"{best.precision} wins"
    times = base.median_ms / best.median_ms
    return f"{best.runtime}: {said}, {times:.1f} times as fast as fp32 ({figures}){size}"


def _time(
    item: Built,
    graph: Graph,
    feed: Callable[[Session], Mapping[str, Array]],
    stage: Path,
    *,
    worth: Worth,
    runtime: str,
    preprocess: Mapping[str, Preprocess],
) -> list[Timed]:
    target = Target("float", item.artifact.format, "fp32")
    place = stage / f"float-{item.artifact.format}"
    place.mkdir(exist_ok=True)
    fused = {name: preprocess[name] for name in item.artifact.fused_preprocess}
    plain = emit(graph, target, place, fused=fused, progress=ignore)
    with ExitStack() as stack:
        sessions = {
            "fp32": (_open(plain, runtime, preprocess), plain.nbytes),
            item.artifact.precision: (_open(item, runtime, preprocess), item.nbytes),
        }
        own = _open(plain, runtime, preprocess, precision="auto")
        if own.inference_precision not in sessions:
            sessions[own.inference_precision] = (own, plain.nbytes)
        else:
            own.close()
        for session, _ in sessions.values():
            stack.enter_context(session)
        calls = {name: _call(session, feed(session)) for name, (session, _) in sessions.items()}
        limit_s = min(_LIMIT_S, max(worth.budget.left_s, 0.0))
        times = time_in_turns(calls, rounds=_ROUNDS, warmup=_WARMUP, limit_s=limit_s)
        values = {name: worth(session) for name, (session, _) in sessions.items()}
    return [
        Timed(runtime, name, times[name], size, values[name])
        for name, (_, size) in sessions.items()
    ]


def _call(session: Session, inputs: Mapping[str, Array]) -> Callable[[], object]:
    return lambda: session.run(inputs)


def _open(
    item: Built, runtime: str, preprocess: Mapping[str, Preprocess], *, precision: str = "fp32"
) -> Session:
    artifact = item.artifact
    weights = artifact.files.get("weights")
    files = PlainFiles(
        item.folder / artifact.files["model"], None if weights is None else item.folder / weights
    )
    fused = {name: preprocess[name] for name in artifact.fused_preprocess}
    session_class: type[EngineSession] = RUNTIMES[runtime].load()
    return session_class.open(
        artifact,
        files,
        preprocess=fused,
        options=SessionOptions(inference_precision=precision),
        reason="timing",
    )
