"""In which order layers go back to float: what each costs alone, for the time that it saves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.calibration.contract import Recipe
from edgekit.calibration.search import Group
from edgekit.calibration.sensitivity import Sensitivity, with_savings
from edgekit.calibration.trials import Memory
from edgekit.converters.quantize import Scheme, pick_scheme
from edgekit.errors import EdgeKitError
from edgekit.graph import Array
from edgekit.pipeline.build import emit
from edgekit.pipeline.check import why_not_here
from edgekit.pipeline.layer_times import Savings, measure_savings
from edgekit.pipeline.layers import integer_units
from edgekit.pipeline.progress import Progress, ignore
from edgekit.pipeline.quantize import EQUALIZE
from edgekit.pipeline.sensitivity import LIMIT_S, layers_alone
from edgekit.pipeline.workbench import SIMULATED_ON, Workshop
from edgekit.pipeline.yardstick import Yardstick
from edgekit.preprocess import Preprocess
from edgekit.quantized import QuantizedGraph
from edgekit.runtimes.select import load
from edgekit.runtimes.session import Session
from edgekit.target import Target

_MOST_TIMING_S = 4.0  # for the layers' times on one target
_RUNS_A_LAYER = 5.0  # of the float model: opening the rest of it, which takes longest, and runs


@dataclass(frozen=True)
class Found:
    """What was found of the layers.

    Args:
        costs: The most worthwhile to keep in float first.
        on: What it was measured on, in words.
        baseline: The float model's metric on the samples that were looked at; NaN undefined.
    """

    costs: tuple[Sensitivity, ...] = ()
    on: str = ""
    baseline: float = float("nan")


class LayerOrder:
    """The layers' order, measured when it is asked for, and kept for a search that resumes.

    Args:
        workshop: Builds artifacts by recipe.
        targets: Quantized ones; those that run here are timed.
        scheme: Of which the layers' noise is measured.
        yardstick: Samples and metric.
        float_model: The float model as an ONNX file.
        stage: Where float artifacts are put together.
        preprocess: By input name.
        fused: Preprocessing inside the artifacts.
        limit_s: For the metric of layers alone, at most; None is ``LIMIT_S``.
        memory: Of the search.
        progress: Told what is being measured.

    Attributes:
        found: The last answer; empty before.
    """

    def __init__(
        self,
        workshop: Workshop,
        targets: Sequence[Target],
        scheme: Scheme,
        yardstick: Yardstick,
        *,
        float_model: Path,
        stage: Path,
        preprocess: Mapping[str, Preprocess],
        fused: Mapping[str, Preprocess],
        limit_s: float | None = None,
        memory: Memory | None = None,
        progress: Progress,
    ) -> None:
        self._workshop = workshop
        self._targets = targets
        self._scheme = scheme
        self._yardstick = yardstick
        self._float_model = float_model
        self._stage = stage
        self._preprocess = preprocess
        self._fused = fused
        self._limit_s = LIMIT_S if limit_s is None else min(LIMIT_S, limit_s)
        self._memory = Memory() if memory is None else memory
        self._tell = progress
        self.found = Found()

    def __call__(self, recipe: Recipe, *, limit_s: float = LIMIT_S) -> list[Group]:
        """Return groups of nodes, the most worthwhile to keep in float first.

        Args:
            recipe: With the layers in integers that are to be ordered.
            limit_s: For the metric of layers alone, at most.
        """
        kept = self._memory.find_costs(recipe)
        self.found = self._measure(recipe, limit_s) if kept is None else Found(*kept)
        if kept is None:
            self._memory.add_costs(recipe, self.found.costs, self.found.on)
        return [Group(cost.layer.nodes, cost.noise + cost.sure_lost) for cost in self.found.costs]

    def least_s(self, recipe: Recipe) -> float:
        """Return about how many seconds it takes at least to order the recipe's layers."""
        if self._memory.find_costs(recipe) is not None:
            return 0.0
        maker, float_model = self._workshop.maker, self._yardstick.float_model
        # Fixes that take long change no number of layers.
        bare = replace(recipe, fixes=tuple(name for name in recipe.fixes if name == EQUALIZE))
        layers = integer_units(maker(maker.graph(bare), bare, self._scheme))
        return len(layers) * _RUNS_A_LAYER * float_model.seconds / max(float_model.count, 1)

    def _measure(self, recipe: Recipe, limit_s: float) -> Found:
        maker = self._workshop.maker
        quantized = maker(maker.graph(recipe), recipe, self._scheme)
        began = time.monotonic()
        with load(self._float_model, device="onnxruntime") as session:
            alone = layers_alone(
                quantized,
                self._yardstick,
                session,
                limit_s=min(self._limit_s, limit_s),
                progress=self._tell,
            )
        savings = self._savings(quantized, recipe, limit_s)
        times = {item.runtime: item.microseconds for item in savings}
        samples = self._yardstick.samples
        part = "" if alone.samples == len(samples) else f" ({alone.samples} of them)"
        words = [
            f"{self._yardstick.name} on {samples.description}{part}",
            *_times_in_words(savings),
        ]
        self._tell(f"ordered {len(alone.costs)} layers in {time.monotonic() - began:.0f} s")
        return Found(with_savings(alone.costs, times), "; ".join(words), alone.baseline)

    def _savings(self, quantized: QuantizedGraph, recipe: Recipe, limit_s: float) -> list[Savings]:
        units, sample = integer_units(quantized), next(iter(self._yardstick.samples))
        found: dict[str, Savings] = {}

        def feed(session: Session) -> dict[str, Array]:
            return self._yardstick.reading.feed(session, sample)

        for target in self._targets:
            if why_not_here(target.format) or target.format in found:
                continue
            self._tell(f"time the layers on {target.format}")
            folder = self._stage / f"layers-{target.format}-{len(list(self._stage.iterdir()))}"
            folder.mkdir()
            integers, _ = self._workshop.build(target, recipe)
            graph = self._workshop.maker.graph(recipe)
            plain = replace(target, name="float", precision="fp32")
            floats = emit(graph, plain, folder, fused=self._fused, progress=ignore)
            try:
                found[target.format] = measure_savings(
                    units,
                    graph,
                    floats,
                    integers,
                    feed,
                    preprocess=self._preprocess,
                    limit_s=min(_MOST_TIMING_S, limit_s / len(self._targets)),
                )
            except EdgeKitError as error:
                self._tell(f"layers are not timed on {target.format}: {error}")
        return list(found.values())


def _times_in_words(savings: Sequence[Savings]) -> list[str]:
    measured = [f"{item.runtime} {item.version}" for item in savings if item.is_measured]
    shared = [f"{item.runtime} {item.version}" for item in savings if not item.is_measured]
    words = []
    if measured:
        words.append(f"times measured on {' and '.join(measured)}")
    if shared:
        words.append(f"times by share of the work on {' and '.join(shared)}")
    return words or ["times by share of the work: no target runs here"]


def judged_scheme(targets: Sequence[Target]) -> Scheme:
    """Return the scheme by which layers are judged, one for all targets: the first target's."""
    first = targets[0]
    is_simulated = first.precision == "int8"
    return pick_scheme(SIMULATED_ON if is_simulated else first.format, first.precision)
