"""How long each layer takes in float and in int8, on the runtime that will run it.

The engine tells what each of its kernels takes and which nodes of the file it computes
(``runtimes.layer_times``); here that becomes time of the model's layers (``attribution``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from edgekit.calibration.sensitivity import Layer
from edgekit.errors import EngineError
from edgekit.graph import Array, Graph
from edgekit.pipeline.attribution import attribute
from edgekit.pipeline.build import Built
from edgekit.pipeline.check import open_emitted
from edgekit.preprocess import Preprocess
from edgekit.runtimes.base import EngineSession
from edgekit.runtimes.layer_times import Steps, Way, time_steps
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.session import Session

LEAST_KNOWN = 0.9
"""Share of the engine's time whose nodes are known below which its profile is not used."""

_FLOAT, _INTEGERS = "float", "int8"
_ROUNDS, _WARMUP = 100, 3
# One thread: what else runs on the machine then takes a core of its own, and the layers' shares
# of the time, which is what is asked for, are those of the kernels.
_THREADS = 1


@dataclass(frozen=True)
class Savings:
    """What int8 saves at each layer on one runtime.

    Args:
        runtime: Name in ``RUNTIMES``.
        version: Of its engine.
        microseconds: Float time minus int8 time of one call, by ``Layer.name``; negative where
            int8 is slower.
        is_measured: Whether the engine measured its steps; else the difference of the whole
            model's times is spread by the layers' share of the work.
        float_us: Median of a call of the whole float model.
        int8_us: Likewise of the integers.
    """

    runtime: str
    version: str
    microseconds: Mapping[str, float]
    is_measured: bool
    float_us: float
    int8_us: float


def measure_savings(
    units: Sequence[Layer],
    graph: Graph,
    floats: Built,
    integers: Built,
    feed: Callable[[Session], Mapping[str, Array]],
    *,
    preprocess: Mapping[str, Preprocess],
    limit_s: float = 4.0,
) -> Savings:
    """Return what int8 saves at each layer, float and int8 run in turns on one thread.

    What an engine fuses is shared by the layers that are in it, by their work. What belongs to
    no layer but only moves values (MaxPool, Slice, a change of layout) follows its neighbours,
    as its type does; so does a conversion between float and integers. What stays float whatever
    the layers are (Softmax, the decoding of boxes) is left out: its difference is noise.

    Args:
        units: Layers, as ``integer_units`` gives them.
        graph: The float model, from which both artifacts were emitted.
        floats: The model for one format in fp32.
        integers: The same in int8.
        feed: Gives a sample as a session takes it.
        preprocess: By input name.
        limit_s: Seconds after which no new round of calls begins; a few are always run.

    Raises:
        EngineError: The runtime refuses an artifact.
        MissingDependencyError: It is not installed; ask ``why_not_here`` first.
    """
    try:
        with _opened(floats, integers, feed, preprocess=preprocess, is_profiled=True) as ways:
            return _measure(ways, units, graph, limit_s=limit_s)
    except EngineError:
        # A model may be too large to be profiled; if it cannot run at all, this fails as well.
        with _opened(floats, integers, feed, preprocess=preprocess, is_profiled=False) as ways:
            return _measure(ways, units, graph, limit_s=limit_s)


@contextmanager
def _opened(
    floats: Built,
    integers: Built,
    feed: Callable[[Session], Mapping[str, Array]],
    *,
    preprocess: Mapping[str, Preprocess],
    is_profiled: bool,
) -> Iterator[dict[str, Way]]:
    with ExitStack() as stack:

        def opened(item: Built, *, profile: bool) -> EngineSession:
            options = SessionOptions(threads=_THREADS, profile=profile)
            session = open_emitted(
                item.artifact, item.folder, preprocess=preprocess, options=options
            )
            stack.enter_context(session)
            return session

        ways: dict[str, Way] = {}
        for name, item in ((_FLOAT, floats), (_INTEGERS, integers)):
            plain = opened(item, profile=False)
            profiled = opened(item, profile=True) if is_profiled and plain.can_profile() else None
            ways[name] = Way(plain, profiled, feed(plain))
        yield ways


def _measure(
    ways: Mapping[str, Way], units: Sequence[Layer], graph: Graph, *, limit_s: float
) -> Savings:
    timed = time_steps(ways, rounds=_ROUNDS, warmup=_WARMUP, limit_s=limit_s)
    session = ways[_FLOAT].plain
    float_us, int8_us = (timed[name].latency.median_ms * 1e3 for name in (_FLOAT, _INTEGERS))
    saved = _by_layer(timed, units, graph)
    return Savings(
        session.runtime,
        session.version,
        _by_work(units, float_us - int8_us) if saved is None else saved,
        saved is not None,
        float_us,
        int8_us,
    )


def _by_layer(
    timed: Mapping[str, Steps], units: Sequence[Layer], graph: Graph
) -> dict[str, float] | None:
    """Return what each layer saves; None where the engine does not tell."""
    before, after = timed[_FLOAT].steps, timed[_INTEGERS].steps
    if before is None or after is None:
        return None
    floats, integers = (attribute(steps, units, graph) for steps in (before, after))
    if min(floats.known_share, integers.known_share) < LEAST_KNOWN:
        return None
    return {
        unit.name: floats.microseconds[unit.name] - integers.microseconds[unit.name]
        for unit in units
    }


def _by_work(units: Sequence[Layer], saved_us: float) -> dict[str, float]:
    total = sum(unit.work for unit in units) or 1
    return {unit.name: saved_us * unit.work / total for unit in units}
