"""How far one tensor is from another: numpy arrays in, one float out.

Every metric takes ``actual`` first and ``reference`` second, of one shape, any
numeric dtype; it computes in float64. Positions where both hold the same NaN or the
same infinity agree and are left out. Any other NaN or infinity gives the metric's
worst value, so that no comparison with a limit can take it for a pass.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ShapeError

Array = NDArray[Any]
_Float64 = NDArray[np.float64]


def cosine(actual: Array, reference: Array) -> float:
    """Return the cosine of the angle between the two, flattened: a·r / (|a| |r|).

    Two zero tensors give 1, a zero tensor against another gives 0.

    Args:
        actual: What was computed, any shape.
        reference: What is right, of the same shape.

    Returns:
        A value in [-1, 1]; 1 is equal up to a positive factor, -1 also stands for a
        NaN or infinity that the other lacks.

    Raises:
        ShapeError: The shapes differ.

    Source: the inner-product definition of an angle in R^n.
    """
    pair = _finite_pair(actual, reference)
    if pair is None:
        return -1.0
    a, r = (_scaled_to_one(values) for values in pair)
    norm_a, norm_r = float(np.linalg.norm(a)), float(np.linalg.norm(r))
    if norm_a == 0 or norm_r == 0:
        return 1.0 if norm_a == norm_r else 0.0
    return float(np.clip(np.dot(a / norm_a, r / norm_r), -1, 1))


def max_abs_error(actual: Array, reference: Array) -> float:
    """Return max |a - r|, in the tensors' own units; 0 for empty tensors.

    Args:
        actual: What was computed, any shape.
        reference: What is right, of the same shape.

    Returns:
        A value >= 0; infinity where one holds a NaN or infinity that the other lacks.

    Raises:
        ShapeError: The shapes differ.

    Source: the L-infinity norm of the difference.
    """
    pair = _finite_pair(actual, reference)
    if pair is None:
        return math.inf
    return _largest(pair[0] - pair[1])


def relative_error(actual: Array, reference: Array) -> float:
    """Return max |a - r| / max |r|: the largest error against the tensor's own range.

    Dividing by each element instead would explode at the zeros that every ReLU makes.

    Args:
        actual: What was computed, any shape.
        reference: What is right, of the same shape.

    Returns:
        A value >= 0; 0 where the two are equal; infinity where the reference is all
        zero and the other is not, or one holds a NaN or infinity that the other lacks.

    Raises:
        ShapeError: The shapes differ.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 1.2
        (normwise relative error), in the L-infinity norm.
    """
    pair = _finite_pair(actual, reference)
    if pair is None:
        return math.inf
    error, size = _largest(pair[0] - pair[1]), _largest(pair[1])
    if error == 0:
        return 0.0
    return error / size if size > 0 else math.inf


def sqnr_db(actual: Array, reference: Array) -> float:
    """Return the signal-to-quantization-noise ratio, 10 log10(sum r^2 / sum (r - a)^2), in dB.

    Args:
        actual: What was computed, any shape.
        reference: What is right, of the same shape.

    Returns:
        Decibels; infinity where the two are equal; minus infinity where the reference
        is all zero and the other is not, or one holds a NaN or infinity that the other
        lacks.

    Raises:
        ShapeError: The shapes differ.

    Source: Widrow and Kollar, Quantization Noise, section 1.3 (power ratio).
    """
    pair = _finite_pair(actual, reference)
    if pair is None:
        return -math.inf
    # Norms, not sums of squares: the square of 1e200 does not fit a float64.
    noise, signal = _norm(pair[1] - pair[0]), _norm(pair[1])
    if noise == 0:
        return math.inf
    if signal == 0:
        return -math.inf
    return 20 * (math.log10(signal) - math.log10(noise))


def top1_agreement(actual: Array, reference: Array) -> float:
    """Return the share of rows whose largest element is at the same place.

    Args:
        actual: Scores, shape (..., classes).
        reference: Scores, of the same shape.

    Returns:
        A value in [0, 1]; 1 where there are no rows. A row of ``actual`` that holds a
        NaN agrees with nothing. Of equal scores the first counts, as in numpy.argmax.

    Raises:
        ShapeError: The shapes differ, or there is no axis of classes.

    Source: ONNX ArgMax-13 with select_last_index=0.
    """
    a, r = _pair(actual, reference)
    if a.ndim == 0 or a.shape[-1] == 0:
        raise ShapeError(f"shape {a.shape} has no classes; scores of shape (..., classes) needed")
    a, r = a.reshape(-1, a.shape[-1]), r.reshape(-1, r.shape[-1])
    if not len(a):
        return 1.0
    same = a.argmax(axis=1) == r.argmax(axis=1)
    return float(np.mean(same & ~np.isnan(a).any(axis=1)))


def _pair(actual: Array, reference: Array) -> tuple[_Float64, _Float64]:
    a, r = np.asarray(actual), np.asarray(reference)
    if a.shape != r.shape:
        raise ShapeError(
            f"cannot compare shape {a.shape} with the reference's {r.shape}; "
            "both must be the same tensor of the same input"
        )
    return a.astype(np.float64), r.astype(np.float64)


def _finite_pair(actual: Array, reference: Array) -> tuple[_Float64, _Float64] | None:
    """Return both flat, without the places where they hold the same non-finite value.

    None where a non-finite value of one is not matched by the other.
    """
    a, r = _pair(actual, reference)
    a, r = a.ravel(), r.ravel()
    finite = np.isfinite(a) & np.isfinite(r)
    if finite.all():
        return a, r
    if not np.array_equal(a[~finite], r[~finite], equal_nan=True):
        return None
    return a[finite], r[finite]


def _largest(values: _Float64) -> float:
    return float(np.abs(values).max()) if values.size else 0.0


def _scaled_to_one(values: _Float64) -> _Float64:
    largest = _largest(values)
    return values / largest if largest > 0 else values


def _norm(values: _Float64) -> float:
    largest = _largest(values)
    return largest * float(np.linalg.norm(values / largest)) if largest > 0 else 0.0
