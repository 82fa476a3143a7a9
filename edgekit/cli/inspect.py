"""``edgekit inspect``: what is in a bundle or a model file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.cli import layers, options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table, human_bytes
from edgekit.runtimes.plain import is_model_file
from edgekit.tensor import TensorSpec

if TYPE_CHECKING:
    from edgekit.artifact import Artifact
    from edgekit.bundle import Bundle
    from edgekit.pipeline.describe import Description

EXAMPLE = """example:
  edgekit inspect model.edgekit
  edgekit inspect model.edgekit --sensitivity --plot layers.svg
  edgekit inspect model.onnx --sensitivity --calibration photos/ -t openvino -t tflite

--sensitivity says what the model loses where one layer alone is integers, and what time that
saves, the layer that is most worth keeping in float first. A bundle keeps the table from its
conversion; of a model file it is measured now, on your own data."""

_MAX_OPERATORS = 12
_MAX_FACTS = 8
_MAX_FACT = 100


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "source", type=options.existing_path, help="a bundle, or an .onnx, .tflite or .xml file"
    )
    layers.configure(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print what the file says of itself; only ``--sensitivity`` of a model runs something."""
    is_model = is_model_file(arguments.source)
    layers.check(arguments, is_model=is_model)
    if arguments.sensitivity and is_model:
        layers.show(layers.of_model(arguments, console), arguments, console)
    elif arguments.sensitivity:
        from edgekit.bundle import Bundle

        layers.show(layers.of_bundle(Bundle.open(arguments.source)), arguments, console)
    elif is_model:
        from edgekit.pipeline.describe import describe

        _print_model(describe(arguments.source), arguments.source, console)
    else:
        from edgekit.bundle import Bundle

        _print_bundle(Bundle.open(arguments.source), console)
    return 0


def _print_model(model: Description, path: Path, console: Console) -> None:
    console.json({"path": str(path), **model.to_json()})
    console.line(f"{path.name}: {model.format}, {human_bytes(model.nbytes)}")
    console.line(f"quantization: {model.quantization}\n")
    console.table(_tensor_table(model.inputs, model.outputs))
    console.table(_operator_table(model.operators))
    _print_facts(model.provenance, console)


def _print_bundle(bundle: Bundle, console: Console) -> None:
    manifest = bundle.manifest
    console.json({"path": str(bundle.location), **manifest.to_json()})
    source = manifest.source
    size = sum(record.size for record in manifest.files.values())
    console.line(f"{bundle.location.name}: {manifest.name}, {human_bytes(size)}")
    console.line(f"made {manifest.created} by EdgeKit {manifest.edgekit_version}")
    console.line(f"from {source.file_name}, SHA-256 {source.sha256[:16]}…\n")
    console.table(_tensor_table(manifest.inputs, manifest.outputs))
    console.table(
        Table(
            ("artifact", ">size", "state", "shown by", ">cosine"),
            [_artifact_row(bundle, artifact) for artifact in bundle.artifacts],
        )
    )
    for name, status in manifest.status.items():
        if status.reason:
            console.line(f"{name}: {status.state}: {status.reason}")
    facts = {name: _steps_in_words(steps.to_json()) for name, steps in manifest.preprocess.items()}
    _print_facts(
        {
            **{f"preprocessing of {name}": words for name, words in facts.items()},
            "labels": ", ".join(manifest.labels),
            "goldens": ", ".join(golden.origin for golden in manifest.goldens) or "none",
            "made with": ", ".join(f"{name} {v}" for name, v in sorted(manifest.tools.items())),
        },
        console,
    )


def _artifact_row(bundle: Bundle, artifact: Artifact) -> tuple[str, ...]:
    manifest = bundle.manifest
    size = sum(manifest.files[path].size for path in artifact.files.values())
    name = artifact.name + (" (takes frames)" if artifact.fused_preprocess else "")
    status = manifest.status_of(artifact.name)
    shown = [figures for figures in manifest.parity if figures.artifact == artifact.name]
    if not shown:
        return name, human_bytes(size), status.state, "", ""
    figures = min(shown, key=lambda item: item.cosine)
    engine = f"{figures.runtime} {figures.runtime_version}"
    return name, human_bytes(size), status.state, engine, f"{figures.cosine:.7f}"


def _tensor_table(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> Table:
    return Table(
        ("", "name", "type", "shape", "layout"),
        [
            *(("input", *_tensor_cells(spec)) for spec in inputs),
            *(("output", *_tensor_cells(spec)) for spec in outputs),
        ],
    )


def _tensor_cells(spec: TensorSpec) -> tuple[str, ...]:
    shape = "?" if spec.shape is None else " x ".join(map(str, spec.shape)) or "scalar"
    layout = "" if spec.layout.value == "unknown" else spec.layout.value
    return spec.name, spec.dtype.value, shape, layout


def _operator_table(operators: Mapping[str, int]) -> Table:
    names = list(operators.items())
    rows = [(name, str(count)) for name, count in names[:_MAX_OPERATORS]]
    rest = names[_MAX_OPERATORS:]
    if rest:
        total = sum(count for _, count in rest)
        rows.append((f"{len(rest)} more kinds", str(total)))
    return Table(("operator", f">of {sum(operators.values())}"), rows)


def _steps_in_words(steps: Mapping[str, object]) -> str:
    shown = ("resize", "colour", "scale", "mean", "std", "layout", "dtype")
    return ", ".join(f"{name} {_number_list(steps[name])}" for name in shown)


def _number_list(value: object) -> str:
    if isinstance(value, list):
        return " ".join(f"{number:.4g}" for number in value)
    return str(value)


def _print_facts(facts: Mapping[str, str], console: Console) -> None:
    told = {name: value for name, value in facts.items() if value}
    for name, value in list(told.items())[:_MAX_FACTS]:
        text = value if len(value) <= _MAX_FACT else value[: _MAX_FACT - 1] + "…"
        console.line(f"{name}: {text}")
    if len(told) > _MAX_FACTS:
        console.line(f"and {len(told) - _MAX_FACTS} facts more; --json shows all")


COMMAND = Command(configure, run, EXAMPLE)
