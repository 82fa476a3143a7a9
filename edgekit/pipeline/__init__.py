"""From a source model to a bundle that proves itself: ``convert``.

It reads as the flow: load, simplify, emit, check, write. Checking loads the engines;
without it (``verify=False``) none of them is imported.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.bundle import Bundle
from edgekit.converters.passes import simplify
from edgekit.errors import UsageError
from edgekit.pipeline.build import Built, check_input_names, emit, load_source, pick_targets
from edgekit.pipeline.bundling import read_labels, with_facts, write_model_bundle
from edgekit.pipeline.check import Check
from edgekit.pipeline.progress import Progress, ignore
from edgekit.pipeline.prove import claim_nothing, prove
from edgekit.preprocess import Preprocess
from edgekit.target import Target

__all__ = ["Built", "Check", "ConversionResult", "Progress", "convert"]


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
    progress: Progress | None = None,
) -> ConversionResult:
    """Convert a model into one bundle for all targets.

    Args:
        model: The source model, an ONNX file.
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
        progress: Told the name of each stage as it starts.

    Returns:
        The bundle, its artifacts, and the figures that prove them.

    Raises:
        UsageError: An option is mistyped or contradicts another.
        ModelError: The model cannot be converted; the message names the node or tensor.
        GateError: A result disagrees with the source; nothing was written.
    """
    model, output = Path(model), Path(output)
    tell = progress or ignore
    wanted, class_names = pick_targets(targets), read_labels(labels)
    _check_options(output, fuse_preprocess, preprocess, verify, golden)

    tell(f"load {model.name}")
    source = load_source(model, shapes=shapes or {})
    steps = _named(preprocess or {}, source.input_names)
    check_input_names(steps, source)
    tell("simplify")
    graph = with_facts(simplify(source), preprocess=steps, labels=class_names)

    with tempfile.TemporaryDirectory(prefix="edgekit-") as stage:
        fused = steps if fuse_preprocess else {}
        built = [emit(graph, target, Path(stage), fused=fused, progress=tell) for target in wanted]
        if verify:
            files = [Path(path) for path in golden]
            proof = prove(
                model, source, graph, built, preprocess=steps, golden=files, progress=tell
            )
        else:
            proof = claim_nothing(built)
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
        )
    notes = (*(item.note for item in built if item.note), *proof.notes)
    return ConversionResult(bundle, tuple(built), proof.checks, notes)


def _named(preprocess: Mapping[str, Preprocess], inputs: Sequence[str]) -> dict[str, Preprocess]:
    """Return the preprocessing by input name; ``""`` means the only input."""
    if "" in preprocess and len(inputs) != 1:
        raise UsageError(
            f"the preprocessing names no input, but the model has {', '.join(inputs)}; "
            "give it as NAME:STEPS"
        )
    return {name or inputs[0]: steps for name, steps in preprocess.items()}


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
