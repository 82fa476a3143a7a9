"""What ``edgekit convert`` makes of a network before it measures a task, for the benchmarks."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.calibration.contract import Recipe
from edgekit.converters.quantize import Scheme, prepare_for_integers
from edgekit.converters.tap import find_taps
from edgekit.graph import Graph
from edgekit.pipeline.calibration import measure, ranges_of
from edgekit.pipeline.quantize import FIX_SAMPLES, Calibrated, Maker, treated
from edgekit.quantized import QuantizedGraph
from edgekit.ranges import Ranges

if TYPE_CHECKING:
    from benchmarks.tflite_int8 import Source


@dataclass(frozen=True)
class Made:
    """What ``edgekit convert`` makes of a network before it measures anything.

    Args:
        maker: Makes other recipes too.
        recipe: The first one.
    """

    maker: Maker
    recipe: Recipe

    def __call__(self, scheme: Scheme, *, recipe: Recipe | None = None) -> QuantizedGraph:
        """Return the quantized graph, by the first recipe unless another is given."""
        chosen = recipe or self.recipe
        return self.maker(self.maker.graph(chosen), chosen, scheme)


def quantize_first(source: Source, *, method: str | None = None) -> Made:
    """Return the first recipe of ``edgekit convert``, and what makes it.

    Args:
        source: All its samples are measured, the first of them serve the fixes, as there.
        method: How ranges are chosen; None leaves that open.
    """
    graph = prepare_for_integers(treated(source.graph)[0])

    def measured(changed: Graph) -> Ranges:
        collected, taps = measure(changed, source)
        return ranges_of(collected, taps, model="", method=method or "auto")

    known = Calibrated(
        graph,
        measured(graph),
        find_taps(graph),
        tuple(source.samples[:FIX_SAMPLES]),
        method or "auto",
        again=measured,
        is_method_open=method is None,
    )
    maker = Maker(known, progress=lambda words: print(f"  {words}", file=sys.stderr, flush=True))
    return Made(maker, maker.first(weights_only=False))
