"""``edgekit eval``: a metric, on labelled samples, of every artifact that runs here."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table
from edgekit.errors import EngineError, UsageError
from edgekit.preprocess import Preprocess
from edgekit.runtimes.choice import Candidate, choose
from edgekit.runtimes.decoders import DECODERS, pick_decoder
from edgekit.runtimes.evaluate import Measured, drop, evaluate, label_by
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.reading import Detection, Reading
from edgekit.runtimes.select import load
from edgekit.runtimes.source import Source
from edgekit.runtimes.validation import VALIDATIONS, Wanted, open_validation

if TYPE_CHECKING:
    from edgekit.runtimes.session import Session
    from edgekit.runtimes.validation import Validation
    from edgekit.tensor import TensorSpec

EXAMPLE = """example:
  edgekit eval digits.edgekit --validation heldout.npz --metric top1
  edgekit eval camvid.edgekit --validation CamVid/test --metric miou:uncounted=11
  edgekit eval yolox.edgekit --validation photos/ --metric map --decoder yolox

Without labels, or with --against, the agreement with the float model is measured: --against
names an artifact of the bundle or a model file; else it is the bundle's first fp32 artifact."""


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "source", type=options.existing_path, help="a bundle, or an .onnx, .tflite or .xml file"
    )
    options.add_validation(
        parser,
        "folders by class or person, labels CSV, COCO JSON, images and masks, .npz",
        required=True,
    )
    options.add_metric(
        parser,
        "top1, topk:k=5, map, miou:ignore=255, eer, tar, cosine, psnr, or module:function",
        required=True,
        metavar="NAME[:OPTION=VALUE]",
    )
    parser.add_argument(
        "--kind",
        type=options.one_of(("auto", *VALIDATIONS), kind="kind of validation set"),
        default="auto",
        help=f"what the path is: {', '.join(VALIDATIONS)} (default: looks)",
    )
    options.add_outputs_of_metric(
        parser,
        decoder=f"{', '.join(DECODERS)}, or module:function",
        output="which output counts",
        name="--output",
    )
    parser.add_argument(
        "--preprocess", metavar="STEPS", help="for a plain model file; as in convert"
    )
    options.add_limit(parser, "so many samples, evenly spread")
    parser.add_argument("--against", metavar="MODEL", help="agreement with this artifact or file")
    parser.add_argument("--device", default="auto", metavar="RUNTIME", help="only this runtime")
    options.add_artifact(parser)
    options.add_threads(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print the metric of each artifact on each runtime."""
    plan = _plan(arguments)
    skipped: list[str] = []
    measured: list[tuple[Candidate, Measured]] = []
    with console.progress() as stage:
        samples = plan.samples(stage)
        for candidate in plan.candidates:
            stage(f"measure {candidate}")
            try:
                with plan.open(candidate) as session:
                    figure = evaluate(
                        session,
                        samples,
                        arguments.metric,
                        reading=plan.reading,
                        samples_in_words=samples.description,
                    )
            except (EngineError, ImportError) as error:
                skipped.append(f"{candidate}: {error}")
                continue
            measured.append((candidate, figure))
    if not measured:
        raise choose(plan.source.artifacts, device=arguments.device).to_error(skipped)
    console.json(
        {
            "metric": arguments.metric,
            "samples": samples.description,
            "results": [_to_json(candidate, figure) for candidate, figure in measured],
            "skipped": skipped,
        }
    )
    _print(measured, samples, console)
    for line in skipped:
        console.line(f"not measured: {line}")
    return 0


@dataclass(frozen=True)
class _Plan:
    source: Source
    candidates: tuple[Candidate, ...]
    reading: Reading
    wanted: Wanted
    arguments: argparse.Namespace

    def open(self, candidate: Candidate) -> Session:
        settings = SessionOptions(threads=self.arguments.threads)
        return self.source.open(candidate, settings, reason=candidate.why)

    def samples(self, stage: Callable[[str], None]) -> Validation:
        """Return the samples, labelled."""
        arguments = self.arguments
        found = open_validation(arguments.validation, self.wanted, kind=arguments.kind)
        found = found.thinned(arguments.limit or len(found))
        if found.is_labelled and arguments.against is None:
            return found
        with self._reference() as reference:
            name = f"{reference.artifact.name} on {reference.runtime}"
            stage(f"label the samples with {name}")
            named = label_by(reference, found, arguments.metric, reading=self.reading)
            labels = [sample.expected for sample in named]
        described = f"{found.description.removesuffix(' without labels')}, labelled by {name}"
        return found.relabelled(labels, described)

    def _reference(self) -> Session:
        named = self.arguments.against
        threads = self.arguments.threads
        if named is not None and Path(named).exists():
            return load(Path(named), threads=threads)
        bundle = self.source.bundle
        if bundle is None:
            raise UsageError(
                f"{self.arguments.validation} has no labels; name the float model with --against"
            )
        floats = [item.name for item in self.source.artifacts if item.precision == "fp32"]
        if named is None and not floats:
            raise UsageError(
                "the bundle has no fp32 artifact to agree with; name a model with --against"
            )
        return load(bundle, artifact=named or floats[0], threads=threads)


def _plan(arguments: argparse.Namespace) -> _Plan:
    source = Source(arguments.source)
    candidates = choose(
        source.artifacts, device=arguments.device, artifact=arguments.artifact
    ).candidates
    if not candidates:
        raise choose(source.artifacts, device=arguments.device).to_error()
    inputs, preprocess, labels = _about_model(source, candidates[0], arguments.preprocess)
    decoder = arguments.decoder
    reading = Reading(
        preprocess=preprocess,
        inputs=inputs,
        output=arguments.output_name,
        detection=None if decoder is None else Detection(pick_decoder(decoder)),
    )
    channels = next((steps.frame_channels for steps in preprocess.values()), 3)
    return _Plan(source, candidates, reading, Wanted(inputs, channels, labels), arguments)


def _about_model(
    source: Source, candidate: Candidate, steps: str | None
) -> tuple[tuple[TensorSpec, ...], Mapping[str, Preprocess], tuple[str, ...]]:
    """Return the source model's inputs, their preprocessing and the classes' names."""
    if source.bundle is not None:
        if steps is not None:
            raise UsageError("the bundle carries its preprocessing; leave --preprocess out")
        manifest = source.bundle.manifest
        return manifest.inputs, manifest.preprocess, source.bundle.labels
    with source.open(candidate, SessionOptions(), reason=candidate.why) as session:
        inputs = session.inputs
    if steps is None:
        return inputs, {}, ()
    return inputs, {inputs[0].name: Preprocess.parse(steps)}, ()


def _print(
    measured: Sequence[tuple[Candidate, Measured]], samples: Validation, console: Console
) -> None:
    console.line(f"{measured[0][1].metric} on {samples.description}\n")
    base = next((item for item in measured if item[0].artifact.precision == "fp32"), measured[0])
    console.table(
        Table(
            ("artifact", "runtime", ">value", ">95 % interval", ">drop", ">95 % interval", ">ms"),
            [_row(candidate, figure, base[1]) for candidate, figure in measured],
        )
    )
    if len(measured) > 1:
        console.line(f"drop: against {base[0]}, on the same samples; ms: a sample in the engine")


def _row(candidate: Candidate, figure: Measured, base: Measured) -> tuple[str, ...]:
    low, high = figure.interval()
    lost = ("", "")
    if figure is not base:
        loss = drop(base, figure)
        lost = (f"{loss.absolute:+.4f}", f"{loss.low:+.4f} .. {loss.high:+.4f}")
    return (
        candidate.artifact.name,
        candidate.runtime,
        f"{figure.value:.4f}",
        f"{low:.4f} .. {high:.4f}",
        *lost,
        f"{figure.seconds / figure.count * 1e3:.2f}",
    )


def _to_json(candidate: Candidate, figure: Measured) -> dict[str, Any]:
    return {
        "artifact": candidate.artifact.name,
        "runtime": candidate.runtime,
        **figure.to_json(),
    }


COMMAND = Command(configure, run, EXAMPLE)
