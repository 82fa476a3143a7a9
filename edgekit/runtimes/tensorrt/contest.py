"""Build every precision on the device, time them in turns, and keep the faster that is right.

An int8 engine is not always faster than a float16 one: badly placed pairs, small layers and
reformats between them cost more than the integers save. Only the device can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from edgekit.artifact import Artifact
from edgekit.bundle import Bundle
from edgekit.errors import EngineError, TensorRtError, UsageError, VerificationError
from edgekit.registry import unknown_name
from edgekit.runtimes.choice import Candidate
from edgekit.runtimes.engines import EngineStore, StoredEngine
from edgekit.runtimes.jetson.conditions import Conditions, under_conditions
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.parity import PASSED, Replay, replay_on
from edgekit.runtimes.session import Session
from edgekit.runtimes.source import Source
from edgekit.runtimes.tensorrt.layers import LayerReport, read_layers
from edgekit.runtimes.tensorrt.prepare import EngineOptions
from edgekit.runtimes.tensorrt.session import TensorRtSession
from edgekit.runtimes.timing import Latency, example_inputs, time_in_turns

_ALIKE = 0.05
"""Share of the faster one's time within which two engines count as equally fast."""

_ORDER = ("fp32", "fp16", "int8")
"""Of two that are alike, the one that is nearer to the float model."""

Judge = Callable[[Session], str]
"""Returns ``""`` where a session keeps what was promised, else why not."""


@dataclass(frozen=True)
class Entrant:
    """One artifact on this device.

    Args:
        artifact: Its name.
        precision: Of the artifact.
        facts: What its build measured.
        nbytes: Size of its engine.
        replay: How the goldens replayed; None where it was not built.
        latency: In turns with the others; None where it is out.
        layers: What the engine is made of; None where TensorRT does not tell.
        why_out: Why it is out of the contest, or ``""``.
    """

    artifact: str
    precision: str
    facts: Mapping[str, Any]
    nbytes: int = 0
    replay: Replay | None = None
    latency: Latency | None = None
    layers: LayerReport | None = None
    why_out: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "artifact": self.artifact,
            "precision": self.precision,
            "facts": dict(self.facts),
            "nbytes": self.nbytes,
            "replay": None if self.replay is None else self.replay.to_json(),
            "latency": None if self.latency is None else self.latency.to_json(),
            "layers": None if self.layers is None else self.layers.to_json(),
            "why_out": self.why_out,
        }


@dataclass(frozen=True)
class Contest:
    """All of them, and which one is kept.

    Args:
        entrants: In the bundle's order.
        winner: Name of the artifact that ``load`` takes from now on.
        reason: Why, in words.
        conditions: Of the board while they were timed.
    """

    entrants: tuple[Entrant, ...]
    winner: str
    reason: str
    conditions: Conditions

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "entrants": [item.to_json() for item in self.entrants],
            "winner": self.winner,
            "reason": self.reason,
            "conditions": self.conditions.to_json(),
        }


def contenders(bundle: Bundle, names: Sequence[str] = ()) -> tuple[Artifact, ...]:
    """Return the artifacts to build: those named, or float16 and int8, or all there are.

    Raises:
        UsageError: A name is unknown, or the bundle has nothing for TensorRT.
    """
    able = [item for item in bundle.artifacts if item.format == "tensorrt"]
    if not able:
        there = ", ".join(item.name for item in bundle.artifacts)
        raise UsageError(
            f"the bundle has nothing for TensorRT, only {there}; convert with --target tensorrt"
        )
    for name in names:
        if name not in [item.name for item in able]:
            raise UsageError(
                unknown_name(name, tuple(item.name for item in able), kind="artifact for TensorRT")
            )
    if names:
        return tuple(item for item in able if item.name in names)
    usual = [item for item in able if item.precision in ("fp16", "int8")]
    return tuple(usual or able)


def hold_contest(
    bundle: Bundle,
    artifacts: Sequence[Artifact],
    *,
    store: EngineStore,
    options: EngineOptions,
    judge: Judge | None = None,
    rounds: int = 200,
    limit_s: float = 20.0,
    tell: Callable[[str], None] = lambda stage: None,
) -> Contest:
    """Build, replay the goldens, time in turns, and note who won beside the engines.

    Args:
        bundle: With goldens.
        artifacts: As ``contenders`` returns them.
        store: Where engines are kept.
        options: How they are built.
        judge: What else has to be kept, such as the accuracy that was promised.
        rounds: Timed calls of each.
        limit_s: Seconds for all of them.
        tell: Told the name of each stage as it starts.

    Raises:
        MissingDependencyError, RuntimeUnavailableError: TensorRT cannot be used here.
        TensorRtError: None could be built.
        VerificationError: None gives the right answers.
    """
    with ExitStack() as stack:
        entrants: dict[str, Entrant] = {}
        sessions: dict[str, TensorRtSession] = {}
        for artifact in artifacts:
            tell(f"build {artifact.name}")
            try:
                session = stack.enter_context(_open(bundle, artifact, store, options))
            except EngineError as error:
                entrants[artifact.name] = Entrant(
                    artifact.name, artifact.precision, {}, why_out=str(error)
                )
                continue
            tell(f"replay the goldens on {artifact.name}")
            entrants[artifact.name] = _judged(session, bundle, judge)
            sessions[artifact.name] = session
        able = {name: sessions[name] for name, item in entrants.items() if not item.why_out}
        if not able:
            raise _nobody(tuple(entrants.values()))
        tell(f"time {len(able)} in turns")
        with under_conditions() as conditions:
            times = _time(able, bundle, rounds=rounds, limit_s=limit_s)
        for name, latency in times.items():
            entrants[name] = replace(entrants[name], latency=latency)
        winner, reason = pick_winner(tuple(entrants.values()))
        for name, session in sessions.items():
            _note(session, entrants[name], store, is_kept=name == winner)
    return Contest(tuple(entrants.values()), winner, reason, conditions)


def pick_winner(entrants: Sequence[Entrant]) -> tuple[str, str]:
    """Return the name of the one to keep, and why.

    Args:
        entrants: At least one with a latency.
    """
    timed = [item for item in entrants if item.latency is not None]
    fastest = min(timed, key=_median_ms)
    alike = [item for item in timed if _median_ms(item) <= (1 + _ALIKE) * _median_ms(fastest)]
    winner = min(alike, key=lambda item: _ORDER.index(item.precision))
    words = ", ".join(f"{item.artifact} {_median_ms(item):.3f} ms" for item in timed)
    out = "".join(f"; {item.artifact} is out: {item.why_out}" for item in entrants if item.why_out)
    if len(timed) == 1:
        return (
            winner.artifact,
            f"{winner.artifact} is the only one that is right here ({words}){out}",
        )
    if len(alike) > 1:
        others = " and ".join(item.artifact for item in alike if item is not winner)
        return winner.artifact, (
            f"{winner.artifact} is as fast as {others} and nearer to the float model ({words}){out}"
        )
    slowest = max(timed, key=_median_ms)
    ratio = _median_ms(slowest) / _median_ms(winner)
    return winner.artifact, f"{winner.artifact} is {ratio:.2f} times as fast ({words}){out}"


def _median_ms(entrant: Entrant) -> float:
    assert entrant.latency is not None  # asked of those that were timed
    return entrant.latency.median_ms


def _open(
    bundle: Bundle, artifact: Artifact, store: EngineStore, options: EngineOptions
) -> TensorRtSession:
    plain = next(
        (
            item
            for item in bundle.artifacts
            if item.format == "tensorrt" and item.precision in ("fp16", "fp32")
        ),
        None,
    )
    own = replace(options, plain=None if plain is None else (plain, bundle.files(plain)))
    session = Source(bundle).open(
        Candidate("tensorrt", artifact, "built here"),
        SessionOptions(cache_dir=store.root, engine=own),
        reason="built on this device",
    )
    assert isinstance(session, TensorRtSession)  # the candidate's runtime
    return session


def _judged(session: TensorRtSession, bundle: Bundle, judge: Judge | None) -> Entrant:
    replay = replay_on(session, list(bundle.goldens()), manifest=bundle.manifest)
    why_out = "" if replay.status == PASSED else f"the goldens do not replay: {replay.reason}"
    if not why_out and judge is not None:
        why_out = judge(session)
    engine = _stored(session)
    for_dla = engine.key.settings.get("dla_core") is not None
    return Entrant(
        session.artifact.name,
        session.artifact.precision,
        engine.facts,
        nbytes=engine.nbytes,
        replay=replay,
        layers=read_layers(session.layers, for_dla=for_dla),
        why_out=why_out,
    )


def _time(
    sessions: Mapping[str, TensorRtSession], bundle: Bundle, *, rounds: int, limit_s: float
) -> dict[str, Latency]:
    sizes = Source(bundle).sizes()
    calls = {}
    for name, session in sessions.items():
        feed = example_inputs(session.inputs, sizes=sizes)
        calls[name] = lambda session=session, feed=feed: session.run(feed)
    return time_in_turns(calls, rounds=rounds, limit_s=limit_s)


def _note(session: TensorRtSession, entrant: Entrant, store: EngineStore, *, is_kept: bool) -> None:
    latency = entrant.latency
    store.note(
        _stored(session),
        {
            "artifact": entrant.artifact,
            "kept": is_kept,
            "why_out": entrant.why_out,
            "median_ms": None if latency is None else latency.median_ms,
            "p99_ms": None if latency is None else latency.p99_ms,
        },
    )


def _stored(session: TensorRtSession) -> StoredEngine:
    assert session.stored is not None  # contenders are built here
    return session.stored


def _nobody(entrants: Sequence[Entrant]) -> Exception:
    lines = "\n".join(f"  {item.artifact}: {item.why_out}" for item in entrants)
    if any(item.replay is not None for item in entrants):
        return VerificationError(f"no engine gives the right answers here:\n{lines}")
    return TensorRtError(f"no engine could be built:\n{lines}")
