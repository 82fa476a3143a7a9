"""Which layers of a model do not like integers: measured alone, nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.calibration.sensitivity import Sensitivity
from edgekit.converters.passes import simplify
from edgekit.errors import UsageError
from edgekit.pipeline.build import (
    artifact_name,
    check_input_names,
    is_quantized,
    load_source,
    named_steps,
    pick_targets,
)
from edgekit.pipeline.bundling import read_labels, with_facts
from edgekit.pipeline.given import has_integers
from edgekit.pipeline.order import LayerOrder, judged_scheme
from edgekit.pipeline.prepared import is_weights_only, measure_float, prepare
from edgekit.pipeline.progress import Progress, ignore
from edgekit.pipeline.quantize import Maker
from edgekit.pipeline.shapes import give_ranges
from edgekit.pipeline.stage import stage_folder
from edgekit.pipeline.terms import Terms
from edgekit.pipeline.workbench import Workshop
from edgekit.preprocess import Preprocess
from edgekit.target import Target


@dataclass(frozen=True)
class Sensitivities:
    """What each layer of a model costs in integers.

    Args:
        layers: The most worthwhile to keep in float first.
        metric: As ``Yardstick.name``.
        baseline: The float model's metric on the samples that layers were judged on; NaN where
            it is not defined on so few.
        on: What was measured on, in words.
        notes: What was rewritten before, and what the calibration doctor says.
    """

    layers: tuple[Sensitivity, ...]
    metric: str
    baseline: float
    on: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "metric": self.metric,
            "baseline": self.baseline if np.isfinite(self.baseline) else None,
            "on": self.on,
            "layers": [layer.to_json() for layer in self.layers],
            "notes": list(self.notes),
        }


def sensitivity_of(
    model: str | Path,
    *,
    targets: Sequence[Target | str],
    terms: Terms,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    preprocess: Mapping[str, Preprocess] | None = None,
    labels: str | Path | None = None,
    progress: Progress | None = None,
) -> Sensitivities:
    """Return what quantizing each layer of a model alone costs, and what time it saves here.

    It is what ``convert`` measures before it puts layers back to float; nothing is written.

    Args:
        model: The source model, a float ONNX file.
        targets: Quantized ones, such as ``"openvino:int8"``; those that run here are timed.
        terms: Calibration data (or ranges), samples and metric, as for ``convert``.
        shapes: Fixed sizes by input name.
        preprocess: How a picture becomes the input, by input name; ``""`` is the only input.
        labels: File of class names, one a line.
        progress: Told the name of each stage as it starts.

    Raises:
        UsageError: A target is not quantized, or something that is needed is not given.
        ModelError: The model cannot be read.
        CalibrationError: The data or the ranges cannot be used.
    """
    model, tell = Path(model), progress or ignore
    wanted, class_names = pick_targets(targets), read_labels(labels)
    for target in wanted:
        if not is_quantized(target):
            raise UsageError(
                f"target {artifact_name(target)} has no integers to be sensitive to; give one "
                f"such as {target.format}:int8"
            )
    tell(f"load {model.name}")
    source = load_source(model, shapes=shapes or {})
    if has_integers(source):
        raise UsageError(
            f"{model} is quantized already; give the float model that it was made from"
        )
    wanted = give_ranges(wanted, source)
    steps = named_steps(preprocess or {}, source.input_names)
    check_input_names(steps, source)
    graph = with_facts(simplify(source), preprocess=steps, labels=class_names)
    ready = prepare(
        model,
        source,
        graph,
        targets=wanted,
        terms=terms,
        preprocess=steps,
        labels=class_names,
        is_measured=True,
        progress=tell,
    )
    if ready.yard is None:
        raise AssertionError("samples were asked for")
    with stage_folder() as stage:
        path = stage / "float.onnx"
        yardstick = measure_float(
            ready.known,
            terms,
            path,
            samples=ready.yard,
            preprocess=steps,
            labels=class_names,
            progress=tell,
        )
        maker = Maker(ready.known, progress=tell)
        order = LayerOrder(
            Workshop(maker, stage, fused={}),
            wanted,
            judged_scheme(wanted),
            yardstick,
            float_model=path,
            stage=stage,
            preprocess=steps,
            fused={},
            limit_s=terms.time_s,
            progress=tell,
        )
        order(maker.first(weights_only=is_weights_only(wanted), keep_float=terms.keep_float))
    found = order.found
    return Sensitivities(found.costs, yardstick.name, found.baseline, found.on, ready.notes)
