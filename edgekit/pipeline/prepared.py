"""What every quantization begins with: a graph made ready, its ranges, and what to judge by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.converters.onnx_model import write_graph
from edgekit.converters.quantize import pick_scheme
from edgekit.converters.quantize.prepare import prepare_for_integers
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.pipeline.progress import Progress
from edgekit.pipeline.quantize import Calibrated, calibrated, treated
from edgekit.pipeline.terms import Terms
from edgekit.pipeline.yardstick import Yardstick, make_yardstick, open_yard
from edgekit.preprocess import Preprocess
from edgekit.registry import unknown_name
from edgekit.runtimes.select import load
from edgekit.runtimes.validation import Validation
from edgekit.target import Target


@dataclass(frozen=True)
class Prepared:
    """A float model before it is quantized.

    Args:
        known: With its ranges.
        yard: Samples to measure on; None where nothing is measured.
        notes: What was rewritten, and what the doctor says.
    """

    known: Calibrated
    yard: Validation | None
    notes: tuple[str, ...]


def prepare(
    model: Path,
    source: Graph,
    graph: Graph,
    *,
    targets: Sequence[Target],
    terms: Terms,
    preprocess: Mapping[str, Preprocess],
    labels: Sequence[str],
    is_measured: bool,
    resume: Path | None = None,
    progress: Progress,
) -> Prepared:
    """Return the model with its ranges, and the samples that the terms name.

    Args:
        model: The source file.
        source: As it was loaded.
        graph: Simplified, with its facts.
        targets: Quantized ones.
        terms: Where the data or the ranges are.
        preprocess: By input name.
        labels: Class names.
        is_measured: Whether accuracy will be measured.
        resume: File that keeps the state of the calibration pass.
        progress: Told each step.

    Raises:
        CalibrationError: The data or the ranges cannot be used.
        UsageError: Something that is needed is not given.
    """
    notes: tuple[str, ...] = ()
    if terms.ranges is None:
        graph, notes = treated(graph)
    graph = prepare_for_integers(graph)
    nodes = tuple(node.name for node in graph.nodes)
    for name in terms.keep_float:
        if name not in nodes:
            raise UsageError(unknown_name(name, nodes, kind="node"))
    # Before the pass, which takes long: what is wrong with them is wrong already.
    yard = open_yard(graph, terms, preprocess=preprocess, labels=labels) if is_measured else None
    known = calibrated(
        model,
        source,
        graph,
        terms,
        preprocess=preprocess,
        classes=len(labels) or None,
        weights_only=is_weights_only(targets),
        resume=resume,
        progress=progress,
    )
    notes += tuple(f"calibration: {finding.text}" for finding in known.findings)
    notes += tuple(f"calibration skipped {name}" for name in known.skipped)
    return Prepared(known, yard, notes)


def measure_float(
    known: Calibrated,
    terms: Terms,
    path: Path,
    *,
    samples: Validation,
    preprocess: Mapping[str, Preprocess],
    labels: Sequence[str],
    progress: Progress,
) -> Yardstick:
    """Return what quantized models are measured by, the float model measured in ONNX Runtime.

    Args:
        known: The model.
        terms: The metric.
        path: Where the float model is written, as ONNX.
        samples: From ``open_yard``.
        preprocess: By input name.
        labels: Class names, where known.
        progress: Told the float model's value.

    Raises:
        UsageError: The samples or the metric do not fit the model.
    """
    progress("measure the float model")
    write_graph(known.graph, path)
    with load(path, device="onnxruntime") as session:
        yardstick = make_yardstick(
            known.graph, terms, session, samples=samples, preprocess=preprocess, labels=labels
        )
    progress(
        f"float model: {yardstick.name} {yardstick.float_model.value:.4f} on "
        f"{yardstick.samples.description}"
    )
    return yardstick


def is_weights_only(targets: Sequence[Target]) -> bool:
    """Whether activations stay float on every target."""
    return all(pick_scheme(item.format, item.precision).is_weight_only for item in targets)
