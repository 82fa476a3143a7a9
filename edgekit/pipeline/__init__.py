"""From a source model to a bundle that proves itself: ``convert``.

It reads as the flow: load, simplify, emit, check, write. Checking loads the engines;
without it (``verify=False``) none of them is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.bundle import Bundle
from edgekit.converters.passes import simplify
from edgekit.errors import UsageError
from edgekit.pipeline.build import (
    Built,
    artifact_name,
    check_input_names,
    emit,
    is_quantized,
    load_source,
    named_steps,
    pick_targets,
)
from edgekit.pipeline.bundling import read_labels, with_facts, write_model_bundle
from edgekit.pipeline.check import Check
from edgekit.pipeline.given import check_given, emit_given, has_integers, notes_on
from edgekit.pipeline.progress import Progress, ignore
from edgekit.pipeline.prove import claim_nothing, prove
from edgekit.pipeline.shapes import give_ranges
from edgekit.pipeline.stage import stage_folder
from edgekit.pipeline.terms import DEFAULT_PROMISE, Terms
from edgekit.preprocess import Preprocess
from edgekit.ranges import Ranges
from edgekit.target import Target

__all__ = [
    "DEFAULT_PROMISE",
    "Built",
    "Check",
    "ConversionResult",
    "Progress",
    "Terms",
    "convert",
]


@dataclass(frozen=True)
class ConversionResult:
    """What came out.

    Args:
        bundle: The bundle as it was written.
        built: Its artifacts.
        checks: What is known of each, by artifact name.
        notes: What was decided for the caller, one line each.
    """

    bundle: Bundle
    built: tuple[Built, ...]
    checks: Mapping[str, Check]
    notes: tuple[str, ...]


def convert(
    model: str | Path,
    *,
    targets: Sequence[Target | str],
    output: str | Path,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    preprocess: Mapping[str, Preprocess] | None = None,
    fuse_preprocess: bool = False,
    labels: str | Path | None = None,
    golden: Sequence[str | Path] = (),
    verify: bool = True,
    folder: bool = False,
    calibration: str | Path | None = None,
    ranges: str | Path | Ranges | None = None,
    terms: Terms | None = None,
    progress: Progress | None = None,
) -> ConversionResult:
    """Convert a model into one bundle for all targets.

    Args:
        model: The source model, an ONNX file; with Q/DQ nodes its own integers are taken.
        targets: Names such as ``"openvino"`` or ``"tflite:fp16"``, or targets.
        output: The bundle; an old one there stays until the new one is whole.
        shapes: Fixed sizes by input name; ``""`` means the only input.
        preprocess: How a picture becomes the input, by input name; likewise.
        fuse_preprocess: Whether the artifacts do it themselves and take uint8 frames.
        labels: File of class names, one a line.
        golden: Pictures or ``.npz`` files to keep as golden inputs; none keeps seeded noise.
        verify: Whether every artifact is run and compared with the source. What this
            machine cannot run is marked unverified in any case.
        folder: Whether the bundle is a folder, not one zip file.
        calibration: The user's own data, for int8: as ``calibration.open_samples`` takes it.
        ranges: Of an earlier calibration, instead of it.
        terms: What a quantized model may lose, and how that is measured; None promises 1 % of
            the float model's value (``DEFAULT_PROMISE``).
        progress: Told the name of each stage as it starts.

    Returns:
        The bundle, its artifacts, and the figures that prove them.

    Raises:
        UsageError: An option is mistyped or contradicts another.
        ModelError: The model cannot be converted; the message names the node or tensor.
        GateError: A result disagrees with the source; nothing was written.
        ContractError: No way to quantize keeps the promise; nothing was written.
        CalibrationError: The calibration data or the ranges cannot be used.
    """
    model, output = Path(model), Path(output)
    tell = progress or ignore
    wanted, class_names = pick_targets(targets), read_labels(labels)
    _check_options(output, fuse_preprocess, preprocess, verify, golden)

    tell(f"load {model.name}")
    source = load_source(model, shapes=shapes or {})
    wanted = give_ranges(wanted, source)
    steps = named_steps(preprocess or {}, source.input_names)
    check_input_names(steps, source)
    promised = _with_data(terms or Terms(), calibration, ranges)
    is_given = has_integers(source)
    if is_given:
        check_given(source, wanted, model=model, terms=promised)
    tell("simplify")
    graph = with_facts(simplify(source), preprocess=steps, labels=class_names)

    with stage_folder() as stage:
        fused = steps if fuse_preprocess else {}
        emitter = emit_given if is_given else emit
        made = [
            emitter(graph, target, stage, fused=fused, progress=tell)
            for target in wanted
            if is_given or not is_quantized(target)
        ]
        integers = None
        if not is_given and any(map(is_quantized, wanted)):
            from edgekit.pipeline.integers import build_integers

            integers = build_integers(
                model,
                source,
                graph,
                targets=[target for target in wanted if is_quantized(target)],
                terms=promised,
                stage=stage,
                preprocess=steps,
                fused=fused,
                labels=class_names,
                output=output,
                verify=verify,
                progress=tell,
            )
            made += integers.built
        built = _in_order(made, wanted)
        if verify:
            files = [Path(path) for path in golden]
            proof = prove(
                model,
                source,
                graph,
                built,
                preprocess=steps,
                golden=files,
                real=() if integers is None else integers.samples,
                progress=tell,
            )
        else:
            proof = claim_nothing(built)
        if integers is not None:
            checks = {name: integers.status(name, check) for name, check in proof.checks.items()}
            proof = replace(proof, checks=checks)
        tell(f"write {output.name}")
        bundle = write_model_bundle(
            output,
            model=model,
            graph=graph,
            built=built,
            proof=proof,
            preprocess=steps,
            labels=class_names,
            folder=folder,
            ranges=None if integers is None else integers.ranges,
            contract=None if integers is None else integers.contract,
        )
    notes = (*(item.note for item in built if item.note), *proof.notes)
    notes += () if integers is None else integers.notes
    notes += notes_on(proof.checks) if is_given else ()
    return ConversionResult(bundle, tuple(built), proof.checks, notes)


def _with_data(
    terms: Terms, calibration: str | Path | None, ranges: str | Path | Ranges | None
) -> Terms:
    """Return the terms with the data that is given beside them."""
    if calibration is not None:
        terms = replace(terms, calibration=calibration)
    if ranges is not None:
        terms = replace(terms, ranges=Path(ranges) if isinstance(ranges, str) else ranges)
    return terms


def _in_order(built: Sequence[Built], targets: Sequence[Target]) -> list[Built]:
    """Return the artifacts in the order in which their targets were given."""
    by_name = {item.artifact.name: item for item in built}
    return [by_name[artifact_name(target)] for target in targets]


def _check_options(
    output: Path,
    fuse_preprocess: bool,
    preprocess: Mapping[str, Preprocess] | None,
    verify: bool,
    golden: Sequence[str | Path],
) -> None:
    if not output.parent.is_dir():
        raise UsageError(f"the folder {output.parent} does not exist; create it first")
    if fuse_preprocess and not preprocess:
        raise UsageError("there is no preprocessing to fuse; give it with --preprocess")
    if golden and not verify:
        raise UsageError(
            "golden outputs come from running the source model, which --no-verify leaves out; "
            "drop one of --golden and --no-verify"
        )
