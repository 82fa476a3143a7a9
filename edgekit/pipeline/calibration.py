"""Calibrate a model: samples, doctor, one pass, ranges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.bundle.hashing import file_sha256
from edgekit.calibration import choose_ranges
from edgekit.calibration.collect import Collected, collect
from edgekit.calibration.doctor import LOOKED_AT, Model, look, look_back
from edgekit.calibration.finding import Finding
from edgekit.calibration.observers import OBSERVERS
from edgekit.calibration.samples import Samples, open_samples
from edgekit.converters.passes import simplify
from edgekit.converters.quantize import prepare_for_integers
from edgekit.converters.tap import Taps, batchnorm_inputs, find_taps
from edgekit.errors import UsageError
from edgekit.graph import Array, Graph
from edgekit.pipeline.build import check_input_names, load_source, named_steps
from edgekit.pipeline.progress import Progress, ignore
from edgekit.pipeline.tap import GraphTap
from edgekit.preprocess import Preprocess
from edgekit.ranges import Ranges
from edgekit.registry import pick

_NORMS_LOOKED_AT = 3
# Source: ONNX operators of 8-bit models, as quantizers write them.
_INTEGER_OPS = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "QLinearConv",
        "QLinearMatMul",
        "ConvInteger",
        "MatMulInteger",
    }
)


@dataclass(frozen=True)
class Calibration:
    """What came out.

    Args:
        ranges: Of every float tensor that may need one.
        findings: What the doctor says.
        skipped: Samples that could not be read, with the reason.
    """

    ranges: Ranges
    findings: tuple[Finding, ...]
    skipped: tuple[str, ...]


def calibrate(
    model: str | Path,
    samples: str | Path,
    *,
    preprocess: Mapping[str, Preprocess] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    method: str = "auto",
    limit: int | None = None,
    goldens: Sequence[Mapping[str, Array]] = (),
    classes: int | None = None,
    threads: int | None = None,
    resume: str | Path | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Measure a model's ranges on the user's own data.

    Args:
        model: The source model, an ONNX file.
        samples: As ``calibration.open_samples`` takes them.
        preprocess: How a picture becomes the input, by input name; ``""`` is the only input.
        shapes: Fixed sizes by input name; likewise.
        method: Name in ``OBSERVERS``.
        limit: At most so many samples.
        goldens: Inputs that the model is known to serve, for the doctor.
        classes: Number of the model's class names, where known; likewise.
        threads: Of the engine; None is half the cores.
        resume: File that keeps the state of the pass until it is done.
        progress: Told the name of each stage.

    Raises:
        UsageError: An option is mistyped, there is no such data, or the model is quantized
            already.
        CalibrationError: No sample can be read, or the model gives NaN on one.
        ModelError: The model cannot be read.
    """
    pick(OBSERVERS, method, kind="calibration method")
    tell, path = progress or ignore, Path(model)
    tell(f"load {path.name}")
    source = load_source(path, shapes=shapes or {})
    _check_float(source, path)
    steps = named_steps(preprocess or {}, source.input_names)
    check_input_names(steps, source)
    opened = open_samples(samples, source.inputs, preprocess=steps, limit=limit)
    tell("look at the samples")
    findings = examine(source, opened, preprocess=steps, goldens=goldens, classes=classes)
    collected, taps = measure(
        prepare_for_integers(simplify(source)),
        opened,
        model=file_sha256(path),
        threads=threads,
        resume=None if resume is None else Path(resume),
        progress=tell,
    )
    tell(f"choose ranges by {method}")
    ranges = ranges_of(collected, taps, model=file_sha256(path), method=method)
    findings += look_back(collected, ranges.ranges, method=method)
    return Calibration(ranges, tuple(findings), tuple(opened.skipped))


def measure(
    graph: Graph,
    samples: Samples,
    *,
    model: str = "",
    threads: int | None = None,
    resume: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Collected, Taps]:
    """Return what one pass over the samples sees of the graph's tensors.

    Args:
        graph: The float graph, from ``prepare_for_integers``.
        samples: The data.
        model: SHA-256 of the source, so that a state of another one is refused.
        threads: Of the engine.
        resume: As for ``calibrate``.
        progress: Told how far it is.
    """
    tell, taps = progress or ignore, find_taps(graph)
    expected = samples.expected
    total = "" if expected is None else f" of {expected}"
    tell(f"measure {len(taps.measured)} tensors on {expected or 'all'} samples")
    steps = {max((expected or 0) * part // 4, 1) for part in (1, 2, 3)} if expected else set()

    def count(number: int) -> None:
        if number in steps and number > 8:
            tell(f"measure: {number}{total} samples")

    with GraphTap(graph, taps.looked_at, threads=threads) as tap:
        collected = collect(
            tap,
            samples,
            names=taps.measured,
            joins=taps.joins,
            model=model,
            progress=count,
            resume=resume,
        )
    return collected, taps


def ranges_of(collected: Collected, taps: Taps, *, model: str, method: str) -> Ranges:
    """Return the ranges by a method; what holds the same values gets the same range.

    Args:
        collected: What the pass saw.
        taps: What was measured and what holds the same.
        model: SHA-256 of the source, hex.
        method: Name in ``OBSERVERS``.
    """
    chosen = choose_ranges(collected.statistics, method)
    aliases = {name: chosen[root] for name, root in taps.aliases.items() if root in chosen}
    return Ranges(
        model=model,
        samples=collected.samples,
        fingerprint=collected.fingerprint,
        ranges={**chosen, **aliases},
        statistics=collected.statistics,
    )


def examine(
    source: Graph,
    samples: Samples,
    *,
    preprocess: Mapping[str, Preprocess],
    goldens: Sequence[Mapping[str, Array]] = (),
    classes: int | None = None,
) -> list[Finding]:
    """Return what the doctor says before the pass.

    Args:
        source: The model as it was loaded, its batch norms not yet folded.
        samples: The data.
        preprocess: By input name.
        goldens: Inputs that the model is known to serve.
        classes: Number of its class names, where known.
    """
    nearest = dict(list(batchnorm_inputs(source).items())[:_NORMS_LOOKED_AT])
    # Batch norms near the input answer without running the rest.
    with GraphTap(source, list(nearest) or source.output_names) as tap:
        if nearest:
            model = Model(source.inputs, trained=nearest, probe=tap, classes=classes)
        else:
            model = Model(source.inputs, run=lambda sample: dict(tap(sample)), classes=classes)
        return look(
            samples.first(LOOKED_AT),
            model,
            preprocess=preprocess,
            goldens=goldens,
            expected=samples.expected,
        )


def _check_float(graph: Graph, path: Path) -> None:
    """Refuse a model whose integers would be measured as if they were its float values."""
    integers = Counter(
        node.op_type for node in graph.nodes if not node.domain and node.op_type in _INTEGER_OPS
    )
    if not integers:
        return
    found = ", ".join(f"{count} {name}" for name, count in integers.items())
    is_taken = set(integers) <= {"QuantizeLinear", "DequantizeLinear"}
    advice = (
        f"edgekit convert {path.name} takes its own scales as they are, without calibration; or "
        if is_taken
        else ""
    )
    raise UsageError(
        f"{path.name} is quantized already ({found}): there are no float ranges to measure; "
        f"{advice}give the float model that it was made from"
    )
