"""The standard TFLite Metadata: what the inputs and outputs mean, for other people's tools.

``attach_metadata`` adds the table to a model as its ``TFLITE_METADATA`` buffer and returns the
label files, which the writer zips onto the end of the .tflite file.

Source: TFLite metadata schema 1.5.0 (metadata_schema.fbs of MediaPipe, identifier M001),
Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.converters.emitters.tflite.flatbuffer import Field, TableBuilder
from edgekit.converters.emitters.tflite.model import Model
from edgekit.errors import ModelError
from edgekit.preprocess import Preprocess

METADATA_KEY = "TFLITE_METADATA"

_IDENTIFIER = b"M001"
_MIN_PARSER_VERSION = "1.0.0"  # Every field below is in the schema's first version.
_TENSOR_AXIS_LABELS = 2
_FEATURE, _IMAGE = 1, 2
_NORMALIZATION = 1
_COLOUR_SPACES = {"RGB": 1, "GRAY": 2}


@dataclass(frozen=True)
class TensorMetadata:
    """What one input or output means.

    Args:
        name: Its public name.
        colour: ``"RGB"`` or ``"GRAY"`` for an image as other tools feed it; None for no image.
        mean: Per channel, of pixels 0..255: the input is ``(pixel - mean) / std``; empty for none.
        std: As many as ``mean``.
        labels_file: Name of the zipped file with one label a line, along the last axis.
    """

    name: str
    colour: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    labels_file: str | None = None


def attach_metadata(
    model: Model,
    *,
    name: str,
    version: str = "",
    preprocess: Mapping[str, Preprocess] | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, bytes]:
    """Add the metadata to a model, and return the files that belong to it.

    Args:
        model: Its ``metadata`` gets one more entry.
        name: Name of the model.
        version: The author's own version of it.
        preprocess: By input name; inputs whose preprocessing is fused are left out.
        labels: By output name, one label for each index of the output's last axis.

    Returns:
        Files by name, for ``write_model(..., files=...)``.

    Raises:
        ModelError: A name is not an input or output of the model, or a label has a line break.
    """
    preprocess, labels = preprocess or {}, labels or {}
    _check_names(preprocess, model.signature.inputs, "input")
    _check_names(labels, model.signature.outputs, "output")
    files = {_labels_file(output, labels): _label_lines(labels[output]) for output in labels}
    input_names = {id(tensor): key for key, tensor in model.signature.inputs.items()}
    output_names = {id(tensor): key for key, tensor in model.signature.outputs.items()}
    # The order is that of the subgraph, not of the signature.
    inputs = [input_names[id(tensor)] for tensor in model.subgraphs[0].inputs]
    outputs = [output_names[id(tensor)] for tensor in model.subgraphs[0].outputs]
    model.metadata[METADATA_KEY] = build_metadata(
        name=name,
        description=model.description,
        version=version,
        inputs=[describe_input(key, preprocess.get(key)) for key in inputs],
        outputs=[
            TensorMetadata(key, labels_file=_labels_file(key, labels) if key in labels else None)
            for key in outputs
        ],
    )
    return files


def describe_input(name: str, preprocess: Preprocess | None) -> TensorMetadata:
    """Return what other tools need to feed an input.

    Preprocess computes ``(x * scale - mean) / std``; the metadata's form has no scale, so
    both are divided by it. A BGR image cannot be told, and so is not told as an image.
    """
    if preprocess is None:
        return TensorMetadata(name)
    channels = max(len(preprocess.scale), len(preprocess.mean), len(preprocess.std))
    scale, mean, std = (
        values * channels if len(values) == 1 else values
        for values in (preprocess.scale, preprocess.mean, preprocess.std)
    )
    return TensorMetadata(
        name,
        colour=preprocess.colour if preprocess.colour in _COLOUR_SPACES else None,
        mean=tuple(value / factor for value, factor in zip(mean, scale, strict=True)),
        std=tuple(value / factor for value, factor in zip(std, scale, strict=True)),
    )


def build_metadata(
    *,
    name: str,
    description: str,
    version: str,
    inputs: Sequence[TensorMetadata],
    outputs: Sequence[TensorMetadata],
) -> bytes:
    """Return the metadata flatbuffer; the tensors are in the order of the main subgraph."""
    builder = TableBuilder()
    subgraph = builder.table(
        [
            (2, "offset", builder.offsets([_tensor(builder, item) for item in inputs]), 0),
            (3, "offset", builder.offsets([_tensor(builder, item) for item in outputs]), 0),
        ]
    )
    root = builder.table(
        [
            (0, "offset", builder.string(name), 0),
            (1, "offset", builder.string(description), 0),
            (2, "offset", builder.string(version), 0),
            (3, "offset", builder.offsets([subgraph]), 0),
            (7, "offset", builder.string(_MIN_PARSER_VERSION), 0),
        ]
    )
    return bytes(builder.finish(root, _IDENTIFIER)[0])


def _tensor(builder: TableBuilder, tensor: TensorMetadata) -> int:
    fields: list[Field] = [
        (0, "offset", builder.string(tensor.name), 0),
        (3, "offset", _content(builder, tensor.colour), 0),
    ]
    if tensor.mean:
        fields.append((4, "offset", _process_units(builder, tensor), 0))
    if tensor.labels_file is not None:
        labels = builder.table(
            [
                (0, "offset", builder.string(tensor.labels_file), 0),
                (2, "int8", _TENSOR_AXIS_LABELS, 0),
            ]
        )
        fields.append((6, "offset", builder.offsets([labels]), 0))
    return builder.table(fields)


def _content(builder: TableBuilder, colour: str | None) -> int:
    if colour is None:
        kind, properties = _FEATURE, builder.table()
    else:
        kind, properties = _IMAGE, builder.table([(0, "int8", _COLOUR_SPACES[colour], 0)])
    return builder.table([(0, "uint8", kind, 0), (1, "offset", properties, 0)])


def _process_units(builder: TableBuilder, tensor: TensorMetadata) -> int:
    options = builder.table(
        [
            (0, "offset", builder.numbers(tensor.mean, "float32"), 0),
            (1, "offset", builder.numbers(tensor.std, "float32"), 0),
        ]
    )
    unit = builder.table([(0, "uint8", _NORMALIZATION, 0), (1, "offset", options, 0)])
    return builder.offsets([unit])


def _labels_file(output: str, labels: Mapping[str, Sequence[str]]) -> str:
    """Return ``labels.txt``, numbered where more outputs have labels."""
    number = list(labels).index(output)
    return f"labels_{number}.txt" if number else "labels.txt"


def _label_lines(labels: Sequence[str]) -> bytes:
    for label in labels:
        if "\n" in label or "\r" in label:
            raise ModelError(f"label {label!r} has a line break; the file holds one label a line")
    return "".join(f"{label}\n" for label in labels).encode()


def _check_names(given: Mapping[str, object], known: Mapping[str, object], kind: str) -> None:
    for name in given:
        if name not in known:
            raise ModelError(
                f"the metadata names {kind} {name!r}; this model has {', '.join(known)}"
            )
