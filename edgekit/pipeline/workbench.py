"""Build quantized artifacts by recipe, and measure each on the runtime that will run it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.bundle.hashing import file_sha256
from edgekit.calibration.contract import Figure, Outcome, Recipe, Scale, Trial
from edgekit.converters.quantize import pick_scheme
from edgekit.graph import Graph
from edgekit.pipeline.build import Built, artifact_name, emit
from edgekit.pipeline.check import open_emitted, open_simulated, why_not_here
from edgekit.pipeline.layers import integer_share
from edgekit.pipeline.progress import ignore
from edgekit.pipeline.quantize import Maker
from edgekit.pipeline.yardstick import Yardstick
from edgekit.preprocess import Preprocess
from edgekit.quantized import QuantizedGraph
from edgekit.runtimes.evaluate import Measured
from edgekit.runtimes.session import Session
from edgekit.target import Target

SIMULATED_ON = "onnx"
"""Format of the graph that stands in for a target that cannot run here."""


class Workshop:
    """Builds artifacts by recipe, each into a folder of its own."""

    def __init__(self, maker: Maker, stage: Path, *, fused: Mapping[str, Preprocess]) -> None:
        self.maker = maker
        self._stage = stage
        self._fused = fused
        self._count = 0

    def build(self, target: Target, recipe: Recipe) -> tuple[Built, float]:
        """Return the artifact, and the share of its multiplications that are integers."""
        shares: list[float] = []
        scheme = pick_scheme(target.format, target.precision)

        def quantized(fitted: Graph) -> QuantizedGraph:
            made = self.maker(fitted, recipe, scheme)
            shares.append(integer_share(made))
            return made

        self._count += 1
        folder = self._stage / f"try-{self._count}"
        folder.mkdir()
        built = emit(
            self.maker.graph(recipe),
            target,
            folder,
            fused=self._fused,
            progress=ignore,
            quantized=quantized,
        )
        return built, shares[0]


@dataclass(frozen=True)
class Ready:
    """An artifact that keeps the promise.

    Args:
        recipe: How it was made.
        built: Its files.
        measured: What it measured, with what intervals are drawn from.
    """

    recipe: Recipe
    built: Built
    measured: Measured


class Workbench:
    """Measures recipes on the targets' runtimes.

    Attributes:
        ready: By artifact name, what kept the promise last.
    """

    def __init__(
        self,
        workshop: Workshop,
        targets: Sequence[Target],
        yardstick: Yardstick,
        scale: Scale,
        *,
        preprocess: Mapping[str, Preprocess],
    ) -> None:
        self._workshop = workshop
        self._targets = {artifact_name(target): target for target in targets}
        self._yardstick = yardstick
        self._scale = scale
        self._preprocess = preprocess
        self.ready: dict[str, Ready] = {}
        self._known: dict[tuple[str, ...], tuple[Figure, Measured]] = {}

    def measure(self, recipe: Recipe, artifacts: Sequence[str]) -> Trial:
        """Return the recipe's trial on these artifacts."""
        figures: dict[str, Figure] = {}
        shares: list[float] = []
        for name in artifacts:
            built, share = self._workshop.build(self._targets[name], recipe)
            # Recipes often make the same file: nodes in float that are it anyway, for one.
            key = (name, *(file_sha256(path) for path in sorted(built.folder.iterdir())))
            if key not in self._known:
                self._known[key] = self._run(name, built, recipe)
            figures[name], measured = self._known[key]
            shares.append(share)
            self._keep(name, Ready(recipe, built, measured), figures[name])
        return Trial(recipe, figures, int8_share=min(shares))

    def finish(self, outcome: Outcome) -> Outcome:
        """Build and measure what an earlier run has measured: its files are not there."""
        figures = dict(outcome.figures)
        is_kept = outcome.is_kept
        for name, recipe in outcome.recipes.items():
            if name not in self.ready or self.ready[name].recipe != recipe:
                trial = self.measure(recipe, [name])
                figures[name] = trial.figures[name]
                is_kept = is_kept and self._scale.is_kept(trial)
        reason = outcome.reason if is_kept else "it was kept in an earlier run, and is not now"
        return replace(outcome, figures=figures, is_kept=is_kept, reason=reason)

    def _keep(self, name: str, found: Ready, figure: Figure) -> None:
        place = found.built.folder.parent
        if self._scale.promise.allows(self._scale.lost(figure)):
            old = self.ready.get(name)
            self.ready[name] = found
            if old is None:
                return
            place = old.built.folder.parent
        shutil.rmtree(place, ignore_errors=True)

    def _run(self, name: str, built: Built, recipe: Recipe) -> tuple[Figure, Measured]:
        is_simulated = bool(why_not_here(built.artifact.format))
        with self._open(name, built, recipe, is_simulated=is_simulated) as session:
            measured = self._yardstick.measure(session)
            figure = Figure(
                measured.value,
                runtime=f"{session.runtime} {session.version}",
                latency_ms=measured.seconds / measured.count * 1e3,
                is_simulated=is_simulated,
            )
            return figure, measured

    def _open(self, name: str, built: Built, recipe: Recipe, *, is_simulated: bool) -> Session:
        if not is_simulated:
            return open_emitted(built.artifact, built.folder, preprocess=self._preprocess)
        artifact, folder = built.artifact, built.folder
        if not artifact.files["model"].endswith(".onnx"):
            precision = self._targets[name].precision
            stand_in = Target(SIMULATED_ON, SIMULATED_ON, precision)
            other, _ = self._workshop.build(stand_in, recipe)
            artifact, folder = other.artifact, other.folder
        return open_simulated(artifact, folder, preprocess=self._preprocess)
