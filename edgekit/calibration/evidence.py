"""What the float model itself tells about how its inputs have to be made.

A picture may be fed in other ways than it was: another scale of its values, or blue and red
swapped. Two witnesses need no labels. The batch norms of the model keep the mean and
variance that training saw at their inputs; and a model is surer of itself on inputs like
those that it was trained with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.graph import Array
from edgekit.preprocess import Preprocess
from edgekit.tensor import DType, Layout, TensorSpec

Sample = Mapping[str, Array]
Run = Callable[[Sample], Mapping[str, Array]]
Probe = Callable[[Sample], Iterable[tuple[str, Array]]]
Trained = Mapping[str, tuple[Array, Array]]
Way = Callable[[Array], Array]

AS_GIVEN = "as given"
SWAPPED = "red and blue swapped"

_NEAREST_NORMS = 3
# torchvision's ImageNet normalisation of values in 0..1, red first.
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Variant:
    """Another way of feeding the same pictures.

    Args:
        name: In words.
        feed: Makes a sample that is fed so, of one that is fed as given.
    """

    name: str
    feed: Callable[[Sample], Sample]


def variants_of(
    samples: Sequence[Sample], spec: TensorSpec, preprocess: Preprocess | None
) -> tuple[Variant, ...]:
    """Return ways of feeding pictures to one input, the given one first.

    Args:
        samples: Preprocessed; other inputs stay as they are.
        spec: The input.
        preprocess: Its contract, where there is one.

    Returns:
        Only the given one where the input is no colour picture of floats.
    """
    given = Variant(AS_GIVEN, lambda sample: sample)
    axis = _channel_axis(spec, preprocess)
    if axis is None or spec.dtype is not DType.FLOAT32 or not samples:
        return (given,)
    to_levels = _grey_levels([sample[spec.name] for sample in samples], axis, preprocess)
    example = samples[0][spec.name]
    found = [given]
    for name, way in _ways(preprocess):

        def feed(sample: Sample, way: Way = way) -> Sample:
            # (N, C, H, W) -> (N, H, W, C) and back
            levels = to_levels(np.moveaxis(sample[spec.name], axis, -1))
            fed = np.moveaxis(way(levels), -1, axis)
            return {**sample, spec.name: np.ascontiguousarray(fed, np.float32)}

        # A way that is the given one, within rounding, is none.
        if not np.allclose(feed(samples[0])[spec.name], example, rtol=1e-3, atol=1e-3):
            found.append(Variant(name, feed))
    return tuple(found)


def norm_distance(probe: Probe, trained: Trained, samples: Iterable[Sample]) -> float:
    """Return how far the first batch norms' inputs are from what training saw.

    Per channel the difference of means in standard deviations and the logarithm of the
    ratio of deviations; the median over channels, the mean over the layers. 0 is the same.

    Args:
        probe: Yields the tensors named in ``trained``.
        trained: Mean and variance by tensor name, nearest to the input first.
        samples: At least one.
    """
    nearest = list(trained)[:_NEAREST_NORMS]
    sums = {name: np.zeros((3, trained[name][0].size)) for name in nearest}
    for sample in samples:
        for name, value in probe(sample):
            if name in sums:
                # (N, C, ...) -> (C, values)
                flat = np.moveaxis(value, 1, 0).reshape(value.shape[1], -1).astype(np.float64)
                sums[name] += [
                    np.full(flat.shape[0], flat.shape[1]),
                    flat.sum(1),
                    np.square(flat).sum(1),
                ]
    distances = []
    for name in nearest:
        mean, variance = trained[name]
        count, total, squares = sums[name]
        seen = total / np.maximum(count, 1)
        spread = np.sqrt(np.maximum(squares / np.maximum(count, 1) - np.square(seen), 1e-12))
        deviation = np.sqrt(np.maximum(variance, 1e-12))
        distances.append(
            np.median(np.abs(seen - mean) / deviation + np.abs(np.log(spread / deviation)))
        )
    return float(np.mean(distances))


def confidences(run: Run, samples: Iterable[Sample], *, classes: int | None) -> list[float]:
    """Return how sure the model is of each sample, in 0..1; empty where it gives no scores.

    Scores are outputs, or columns of a detector's only one, that lie in 0..1: the mean over
    outputs of each one's largest. Of one output of logits per class (or per class and
    pixel) it is the mean largest softmax.

    Args:
        run: The float model.
        samples: What to run.
        classes: Number of class names known of the model.
    """
    found: list[float] = []
    for sample in samples:
        outputs = run(sample)
        scores = [
            _confidence(value, classes, is_only=len(outputs) == 1) for value in outputs.values()
        ]
        told = [score for score in scores if score is not None]
        if not told:
            return []
        found.append(float(np.mean(told)))
    return found


def _confidence(value: Array, classes: int | None, *, is_only: bool) -> float | None:
    if value.dtype.kind != "f" or value.size < 2 or not np.isfinite(value).all():
        return None
    if value.min() >= 0 and value.max() <= 1:
        return float(value.max())
    columns = _score_columns(value) if value.ndim == 3 and is_only else None
    if columns is not None:
        return float(columns.max())
    is_map = value.ndim == 4 and 2 <= value.shape[1] <= 256
    is_class = value.ndim == 2 and value.shape[1] == classes
    if not is_only or not (is_map or is_class):
        return None
    logits = value.astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return float((powers.max(axis=1) / powers.sum(axis=1)).mean())


def _score_columns(value: Array) -> Array | None:
    """Return the scores of a detector that gives boxes and scores as one tensor.

    They are the columns that lie in 0..1; boxes in pixels do not. None where they are less
    than half: then it is no such tensor.
    """
    # (1, boxes, columns) or (1, columns, boxes) -> (columns, boxes)
    columns = value[0].T if value.shape[1] > value.shape[2] else value[0]
    scores: Array = columns[(columns.min(axis=1) >= 0) & (columns.max(axis=1) <= 1)]
    return scores if 2 * len(scores) >= len(columns) else None


def _channel_axis(spec: TensorSpec, preprocess: Preprocess | None) -> int | None:
    if spec.shape is None or len(spec.shape) != 4:
        return None
    layout = spec.layout if preprocess is None else preprocess.layout
    if layout is Layout.UNKNOWN:
        layout = Layout.NCHW if spec.shape[1] == 3 else Layout.NHWC
    axis = 1 if layout is Layout.NCHW else 3
    return axis if spec.shape[axis] == 3 else None


def _grey_levels(arrays: Sequence[Array], axis: int, preprocess: Preprocess | None) -> Way:
    """Return what turns a picture (N, H, W, 3) back into 0..255.

    It is the contract's inverse, where the samples fit the contract; else it is guessed by
    the range of all their values.
    """
    low, high = min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)
    if preprocess is not None:
        affine = preprocess.normalisation()
        multiply, add = np.array(affine.multiply), np.array(affine.add)

        def invert(picture: Array) -> Array:
            levels: Array = (picture - add) / multiply
            return levels

        every = [invert(np.moveaxis(array, axis, -1)) for array in arrays[:2]]
        if all(levels.min() >= -1 and levels.max() <= 256 for levels in every):
            return invert
    if low >= 0:
        return lambda picture: picture * (255.0 if high <= 1.01 else 1.0)
    if low >= -1.01 and high <= 1.01:
        return lambda picture: (picture + 1.0) * 127.5
    return lambda picture: (picture - low) / (high - low) * 255.0


def _ways(preprocess: Preprocess | None) -> list[tuple[str, Way]]:
    """Return names, and what makes the input of pictures in 0..255, (N, H, W, 3)."""
    multiply, add = np.ones(3), np.zeros(3)
    if preprocess is not None:
        affine = preprocess.normalisation()
        multiply, add = np.array(affine.multiply), np.array(affine.add)
    mean, std = np.array(_IMAGENET_MEAN), np.array(_IMAGENET_STD)
    if preprocess is not None and preprocess.colour == "BGR":
        mean, std = mean[::-1], std[::-1]
    return [
        (SWAPPED, lambda levels: levels[..., ::-1] * multiply + add),
        ("values in 0..255", lambda levels: levels),
        ("values in 0..1", lambda levels: levels / 255.0),
        ("values in -1..1", lambda levels: levels / 127.5 - 1.0),
        ("ImageNet's mean and deviation", lambda levels: (levels / 255.0 - mean) / std),
    ]
