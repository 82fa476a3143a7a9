"""From a sample to a session's inputs, and from its outputs to what a metric takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError, UsageError
from edgekit.metrics.boxes import suppress
from edgekit.metrics.segmentation import class_map
from edgekit.preprocess import Geometry, Preprocess
from edgekit.registry import unknown_name
from edgekit.runtimes.decoders import Decoder
from edgekit.runtimes.session import Session
from edgekit.runtimes.validation.sample import LabelledSample
from edgekit.tensor import TensorSpec

Array = NDArray[Any]


@dataclass(frozen=True)
class Detection:
    """How a detector's outputs become boxes.

    Args:
        decode: From outputs to rows; see ``DECODERS``.
        min_score: Rows below it are dropped. An average precision needs the low ones too.
        iou: Overlap from which the worse of two boxes of a class goes.
        max_boxes: Kept on one picture.
        sure_score: From which the float model's boxes count as what is right, where it
            stands for labels.
    """

    decode: Decoder
    min_score: float = 0.01
    iou: float = 0.65
    max_boxes: int = 300
    sure_score: float = 0.3


@dataclass(frozen=True)
class Reading:
    """How a model is fed and read.

    Args:
        preprocess: By input name, for inputs that take frames.
        inputs: The source model's inputs; empty takes the session's own.
        output: Name of the output that counts; empty where there is one.
        detection: For a detector.
    """

    preprocess: Mapping[str, Preprocess] = field(default_factory=dict)
    inputs: tuple[TensorSpec, ...] = ()
    output: str = ""
    detection: Detection | None = None

    def feed(self, session: Session, sample: LabelledSample) -> dict[str, Array]:
        """Return what the session takes: frames are preprocessed unless the artifact does it.

        Raises:
            InputError: A frame does not become the input.
        """
        feed: dict[str, Array] = {}
        for name, value in sample.inputs.items():
            is_tensor = not _is_frame(value) or name not in self.preprocess
            if is_tensor or name in session.artifact.fused_preprocess:
                feed[name] = value
            else:
                feed[name] = self.preprocess[name].apply(
                    value.astype(np.uint8, copy=False), self._spec(session, name)
                )
        return feed

    def read(
        self, session: Session, sample: LabelledSample, outputs: Mapping[str, Array], kind: str
    ) -> Any:
        """Return what a metric of this kind takes.

        Args:
            session: That made the outputs.
            sample: Of which.
            outputs: By name.
            kind: As ``Metric.kind``.

        Raises:
            UsageError: The outputs are not told apart, or a decoder is missing.
            InputError: They are not what the kind needs.
        """
        if kind == "outputs":
            return outputs
        if kind == "boxes":
            return self._boxes(session, sample, outputs)
        if kind == "tensor":
            return dict(outputs) if not self.output else self._one(outputs)
        array = self._one(outputs)
        if kind == "map":
            return self._map(session, sample, class_map(array))
        return array[0] if array.ndim > 1 and len(array) == 1 else array

    def label(self, actual: Any, kind: str) -> Any:
        """Return what counts as right where a float model gave it.

        Args:
            actual: What ``read`` returned.
            kind: Likewise.

        Raises:
            UsageError: The metric has no meaning without labels.
        """
        if kind == "scores":
            return int(np.argmax(np.asarray(actual).reshape(-1)))
        if kind == "embedding":
            raise UsageError(
                "identities are needed to tell persons apart, such as a folder for each; without "
                "them use the metric cosine"
            )
        if kind == "boxes":
            sure = actual[actual[:, 4] >= self._detector().sure_score]
            return sure[:, [0, 1, 2, 3, 5]]
        return actual

    def _boxes(
        self, session: Session, sample: LabelledSample, outputs: Mapping[str, Array]
    ) -> Array:
        detector = self._detector()
        name, value = next(iter(sample.inputs.items()))
        geometry = self._geometry(session, name, value)
        canvas_hw = geometry.canvas_hw if geometry else _canvas(self._spec(session, name), value)
        rows = np.asarray(detector.decode(outputs, canvas_hw), np.float64)
        if rows.ndim != 2 or rows.shape[1] != 6:
            raise InputError(f"the decoder gave rows of shape {rows.shape}; (n, 6) is expected")
        rows = rows[np.isfinite(rows).all(axis=1)]
        rows = rows[rows[:, 4] >= detector.min_score]
        rows = suppress(rows, iou=detector.iou, max_boxes=detector.max_boxes)
        if geometry is None:
            return rows
        height, width = value.shape[:2]
        corners = geometry.to_frame(rows[:, :4])
        limits = np.array([width, height, width, height])
        return np.hstack([np.clip(corners, 0, limits), rows[:, 4:]])

    def _map(self, session: Session, sample: LabelledSample, found: Array) -> Array:
        """Return the map in the label's size; stretched frames only, pixel by nearest pixel."""
        wanted = np.shape(sample.expected) if sample.expected is not None else found.shape
        if found.shape == wanted or len(wanted) != 2:
            return found
        name = next(iter(sample.inputs))
        steps = self.preprocess.get(name)
        if steps is not None and steps.resize not in ("none", "stretch"):
            raise InputError(
                f"a map of {found.shape} cannot be laid on a mask of {wanted} through resize mode "
                f"{steps.resize!r}; give masks of the model's size"
            )
        rows, columns = (
            (np.arange(size) * have // size) for size, have in zip(wanted, found.shape, strict=True)
        )
        return np.asarray(found[np.ix_(rows, columns)])

    def _one(self, outputs: Mapping[str, Array]) -> Array:
        if self.output:
            if self.output not in outputs:
                raise UsageError(unknown_name(self.output, outputs, kind="output"))
            return outputs[self.output]
        if len(outputs) > 1:
            raise UsageError(
                f"the model has the outputs {', '.join(outputs)}; say which one counts"
            )
        return next(iter(outputs.values()))

    def _detector(self) -> Detection:
        if self.detection is None:
            raise UsageError(
                "boxes need a decoder, such as yolox, yunet, boxes, or module:function of your own"
            )
        return self.detection

    def _spec(self, session: Session, name: str) -> TensorSpec:
        for spec in self.inputs or session.inputs:
            if spec.name == name:
                return spec
        known = tuple(spec.name for spec in session.inputs)
        raise InputError(unknown_name(name, known, kind="input"))

    def _geometry(self, session: Session, name: str, value: Array) -> Geometry | None:
        if not _is_frame(value) or name not in self.preprocess:
            return None
        return self.preprocess[name].place(value.shape, self._spec(session, name))


def _is_frame(value: Array) -> bool:
    return value.dtype == np.uint8 and value.ndim in (2, 3)


def _canvas(spec: TensorSpec, value: Array) -> tuple[int, int]:
    if value.ndim != 4:
        raise InputError(f"input {spec.name!r} of shape {value.shape} is no picture (1, C, H, W)")
    # (1, H, W, C) or (1, C, H, W): a picture has few channels
    is_last = value.shape[3] in (1, 3) and value.shape[1] not in (1, 3)
    return value.shape[1:3] if is_last else value.shape[2:4]
