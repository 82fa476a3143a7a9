"""What a quantized model is measured by: samples, a metric, and the float model's value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edgekit.calibration.samples import open_samples
from edgekit.errors import UsageError
from edgekit.graph import Array, Graph
from edgekit.metrics.pick import pick_metric
from edgekit.pipeline.terms import Terms
from edgekit.preprocess import Preprocess
from edgekit.runtimes.decoders import pick_decoder
from edgekit.runtimes.evaluate import Measured, evaluate, label_by
from edgekit.runtimes.reading import Detection, Reading
from edgekit.runtimes.session import Session
from edgekit.runtimes.validation import (
    LabelledSample,
    Validation,
    Wanted,
    open_validation,
)
from edgekit.runtimes.validation.sample import PICTURES, read_frame

AGREEMENT = "agreement: "
_MOST_BYTES = 256 << 20
_MOST_SAMPLES = 512


@dataclass(frozen=True)
class Yardstick:
    """A metric on samples, with the float model's value.

    Args:
        metric: As ``pick_metric`` takes it.
        is_agreement: Whether the float model's answers are the labels.
        samples: Labelled.
        reading: How the model is fed and read.
        float_model: What the float model measured.
    """

    metric: str
    is_agreement: bool
    samples: Validation
    reading: Reading
    float_model: Measured

    @property
    def name(self) -> str:
        """The metric, and whether it is agreement."""
        return f"{AGREEMENT}{self.metric}" if self.is_agreement else self.metric

    def measure(self, session: Session) -> Measured:
        """Return the metric of a session over the samples."""
        return evaluate(
            session,
            self.samples,
            self.metric,
            reading=self.reading,
            samples_in_words=self.samples.description,
        )


def make_yardstick(
    graph: Graph,
    terms: Terms,
    float_session: Session,
    *,
    samples: Validation,
    preprocess: Mapping[str, Preprocess],
    labels: Sequence[str] = (),
) -> Yardstick:
    """Return what the terms ask to measure by, the float model measured.

    Args:
        graph: The float model.
        terms: The metric; what they leave open is chosen here.
        float_session: The float model, running.
        samples: From ``open_yard``.
        preprocess: By input name.
        labels: Class names, where known.

    Raises:
        UsageError: The samples or the metric do not fit the model.
    """
    samples = samples.thinned(terms.validation_samples or _MOST_SAMPLES)
    has_labels = samples.is_labelled
    metric = terms.metric or _usual(graph, samples, terms, labels, has_labels=has_labels)
    has_labels = has_labels and (terms.metric is not None or metric == "top1")
    if has_labels and pick_metric(metric).kind == "tensor":
        # A class is nothing that a tensor could be near to.
        has_labels = isinstance(next(iter(samples)).expected, np.ndarray)
    reading = Reading(
        preprocess=preprocess,
        inputs=graph.inputs,
        output=terms.output,
        detection=None if terms.decoder is None else Detection(pick_decoder(terms.decoder)),
    )
    if not has_labels:
        named = label_by(float_session, samples, metric, reading=reading)
        words = (
            f"{samples.description.removesuffix(' without labels')}, labelled by the float model"
        )
        samples = samples.relabelled([sample.expected for sample in named], words)
    measured = evaluate(
        float_session, samples, metric, reading=reading, samples_in_words=samples.description
    )
    return Yardstick(metric, not has_labels, samples, reading, measured)


def is_classifier(graph: Graph, output: str = "", *, labels: Sequence[str] = ()) -> bool:
    """Whether the output is a score for each class.

    It is one where there is a class name for each, or where it comes out of a Softmax. An
    embedding looks alike otherwise, and its largest element means nothing.
    """
    specs = [spec for spec in graph.outputs if spec.name == output or not output]
    if len(specs) != 1 or specs[0].shape is None:
        return False
    long = [dim for dim in specs[0].shape[1:] if dim != 1]
    if len(long) != 1 or not isinstance(long[0], int):
        return False
    if labels and len(labels) == long[0]:
        return True
    producers = graph.producers()
    node = producers.get(specs[0].name)
    while node is not None and node.op_type in ("Reshape", "Flatten", "Squeeze", "Identity"):
        node = producers.get(node.inputs[0])
    return node is not None and node.op_type == "Softmax"


def _usual(
    graph: Graph,
    samples: Validation,
    terms: Terms,
    labels: Sequence[str],
    *,
    has_labels: bool,
) -> str:
    """Return the metric where none is named."""
    if is_classifier(graph, terms.output, labels=labels):
        return "top1"
    if has_labels and terms.validation is not None:
        first = next(iter(samples)).expected
        if isinstance(first, int) and terms.decoder is None:
            raise UsageError(
                f"{terms.validation} has labels, and what they are for is not plain; give "
                "--metric, such as top1 or eer"
            )
    return "map" if terms.decoder is not None else "cosine"


def open_yard(
    graph: Graph, terms: Terms, *, preprocess: Mapping[str, Preprocess], labels: Sequence[str] = ()
) -> Validation:
    """Return the samples that the terms name; without any, the calibration data.

    Args:
        graph: The float model.
        terms: Where they are.
        preprocess: By input name.
        labels: Class names, where known.

    Raises:
        UsageError: There are none, or they are of no known kind.
        InputError: They are malformed.
    """
    channels = next((steps.frame_channels for steps in preprocess.values()), 3)
    wanted = Wanted(graph.inputs, channels, labels)
    if terms.validation is not None:
        return open_validation(terms.validation, wanted, kind=terms.kind)
    if terms.calibration is None:
        raise UsageError(
            "there is nothing to measure the loss of accuracy on; give --validation (or "
            "--calibration), or leave verifying out with --no-verify"
        )
    path = Path(terms.calibration)
    if path.suffix.lower() == ".npz" and path.is_file():
        return open_validation(path, wanted, kind="npz")
    if path.is_dir() and terms.metric is not None and pick_metric(terms.metric).kind != "tensor":
        # Who names a metric may mean the labels that lie there.
        return open_validation(path, wanted, kind=terms.kind)
    if path.is_dir():
        return _pictures(path, wanted)
    return _unlabelled(graph, terms, preprocess=preprocess)


def _pictures(folder: Path, wanted: Wanted) -> Validation:
    """Return all pictures of a folder, as calibration reads them, without labels."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    name, channels = wanted.picture_input, wanted.frame_channels
    return Validation(
        "pictures",
        f"{len(paths)} pictures of {folder.name} without labels",
        False,
        [partial(_read_picture, path, name, channels) for path in paths],
    )


def _read_picture(path: Path, name: str, channels: int) -> LabelledSample:
    return LabelledSample(path.name, {name: read_frame(path, channels)})


def _unlabelled(graph: Graph, terms: Terms, *, preprocess: Mapping[str, Preprocess]) -> Validation:
    """Return calibration samples as they are fed, as many as fit into memory."""
    source = str(terms.calibration)
    kept: list[LabelledSample] = []
    used = 0
    limit = terms.validation_samples or _MOST_SAMPLES
    opened = open_samples(source, graph.inputs, preprocess=preprocess, limit=limit)
    for name, inputs in opened.items():
        used += sum(value.nbytes for value in inputs.values())
        if kept and used > _MOST_BYTES:
            break
        kept.append(LabelledSample(name, inputs))
    return Validation(
        "calibration",
        f"{len(kept)} samples of {Path(source).name} without labels",
        False,
        [partial(_itself, sample) for sample in kept],
    )


def _itself(sample: LabelledSample) -> LabelledSample:
    return sample


def sample_inputs(
    samples: Validation, reading: Reading, session: Session, count: int
) -> list[dict[str, Array]]:
    """Return some samples as a session takes them."""
    return [reading.feed(session, sample) for sample in samples.thinned(count)]


__all__ = ["AGREEMENT", "Yardstick", "is_classifier", "make_yardstick", "sample_inputs"]
