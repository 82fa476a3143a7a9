"""Orders of axes and windows against numpy, which stores and slides them for real."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgekit.converters.emitters.tflite.layout import (
    extend,
    identity,
    invert,
    logical_shape,
    moves_data,
    reshape_orders,
    stored_shape,
    transposition,
    without_axes,
)
from edgekit.converters.emitters.tflite.schema import Padding
from edgekit.converters.emitters.tflite.window import Window, read_window
from edgekit.graph import Node

SIZES = st.integers(1, 4)


@st.composite
def shapes_and_orders(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    shape = tuple(draw(st.lists(SIZES, min_size=1, max_size=5)))
    return shape, tuple(draw(st.permutations(range(len(shape)))))


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return a shape, how it is stored, and another shape of as many elements."""
    shape, order = draw(shapes_and_orders())
    factors = [f for size in shape for f in ((2, 2) if size == 4 else (size,))]
    factors += draw(st.lists(st.just(1), max_size=2))
    factors = draw(st.permutations(factors)) if draw(st.booleans()) else factors
    target: list[int] = []
    for factor in factors:
        if target and draw(st.booleans()):
            target[-1] *= factor
        else:
            target.append(factor)
    return shape, order, tuple(target)


def counting(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(math.prod(shape)).reshape(shape)


@given(shapes_and_orders())
def test_invert_undoes_a_permutation(case: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    shape, order = case
    array = counting(shape)

    back = array.transpose(order).transpose(invert(order))

    assert np.array_equal(back, array)
    assert logical_shape(stored_shape(shape, order), order) == shape


@given(shapes_and_orders(), st.data())
def test_transposition_leads_from_one_order_to_the_other(
    case: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject
) -> None:
    shape, have = case
    want = data.draw(st.permutations(have))
    array = counting(shape)

    moved = array.transpose(have).transpose(transposition(have, want))

    assert np.array_equal(moved, array.transpose(want))


@given(shapes_and_orders())
def test_orders_that_move_nothing_hold_the_same_bytes(
    case: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    shape, order = case
    array = counting(shape)

    same = np.array_equal(array.transpose(order).ravel(), array.ravel())

    assert same == (not moves_data(order, identity(len(shape)), shape))


@given(shapes_and_orders(), st.integers(0, 2))
def test_extending_an_order_is_what_broadcasting_does(
    case: tuple[tuple[int, ...], tuple[int, ...]], added: int
) -> None:
    shape, order = case
    array = counting(shape)

    grown = array.reshape((1,) * added + shape)

    assert np.array_equal(
        grown.transpose(extend(order, len(shape) + added)),
        array.transpose(order).reshape((1,) * added + stored_shape(shape, order)),
    )


@given(shapes_and_orders(), st.data())
def test_removing_axes_keeps_the_order_of_the_others(
    case: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject
) -> None:
    shape, order = case
    axis = data.draw(st.integers(0, len(shape) - 1))
    stored = counting(shape).transpose(order).take(0, axis=order.index(axis))

    expected = counting(shape).take(0, axis=axis).transpose(without_axes(order, [axis]))

    assert np.array_equal(stored, expected)


@settings(max_examples=500)
@given(reshapes())
def test_a_reshape_from_the_needed_order_moves_no_data(
    case: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
) -> None:
    shape, order, target = case
    array = counting(shape)

    needed, made = reshape_orders(shape, order, target)

    stored = array.transpose(needed).reshape(stored_shape(target, made))
    assert np.array_equal(stored, array.reshape(target).transpose(made))


@given(reshapes())
def test_a_reshape_of_a_tensor_stored_in_onnx_order_needs_no_transpose(
    case: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
) -> None:
    shape, _, target = case

    needed, made = reshape_orders(shape, identity(len(shape)), target)

    assert not moves_data(needed, identity(len(shape)), shape)
    assert not moves_data(made, identity(len(target)), target)


@dataclass(frozen=True)
class Reshape:
    id: str
    source: tuple[int, ...]
    target: tuple[int, ...]
    made: tuple[int, ...]


@pytest.mark.parametrize(
    "case",
    [
        Reshape("flat space", (1, 8, 5, 6), (1, 8, 30), (0, 2, 1)),
        Reshape("split channels", (2, 8, 5, 6), (2, 2, 4, 5, 6), (0, 3, 4, 1, 2)),
        Reshape("drop a trailing one", (1, 8, 5, 1), (1, 8, 5), (0, 2, 1)),
    ],
    ids=lambda case: case.id,
)
def test_channels_last_stays_so_through_a_reshape(case: Reshape) -> None:
    nhwc = (0, 2, 3, 1)

    needed, made = reshape_orders(case.source, nhwc, case.target)

    assert needed == nhwc
    assert made == case.made


@st.composite
def pools(draw: st.DrawFn) -> tuple[Node, int, int]:
    """Return a pool along one axis, its kernel size and its input size."""
    size, kernel = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    attributes: dict[str, object] = {
        "strides": (draw(st.integers(1, 4)),),
        "dilations": (draw(st.integers(1, 3)),),
    }
    mode = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if mode == "NOTSET":
        pads = st.integers(0, kernel - 1)
        attributes |= {"pads": (draw(pads), draw(pads)), "ceil_mode": draw(st.integers(0, 1))}
    else:
        attributes["auto_pad"] = mode
    return Node("MaxPool", ("x",), ("y",), attributes, "pool"), kernel, size  # type: ignore[arg-type]


def places_of(window: Window) -> list[list[int]]:
    """Return the coordinates that each output reads; those outside the input are padding."""
    step, reach = window.stride[0], window.reach[0]
    taps = range(0, reach, window.dilation[0])
    first = -window.before[0]
    return [[first + out * step + tap for tap in taps] for out in range(window.size_out[0])]


@given(pools())
def test_a_window_is_laid_as_often_as_it_fits(case: tuple[Node, int, int]) -> None:
    node, kernel, size = case
    window = read_window(node, (kernel,), (size,))
    end = size + window.after[0]
    ceil = bool(node.attributes.get("ceil_mode", 0))
    assume(window.reach[0] <= size + window.before[0] + window.after[0])

    fitting = 0
    start = -window.before[0]
    while start + window.reach[0] <= end:
        fitting, start = fitting + 1, start + window.stride[0]
    # Source: ONNX MaxPool-22: with ceil_mode the last window may run over, unless it starts
    # in the padding behind.
    overrun = start - window.stride[0] + window.reach[0] < end and start < size
    expected = fitting + (1 if ceil and overrun else 0)
    assert window.size_out[0] == expected


@given(pools())
def test_missing_padding_is_what_the_last_window_reads_behind(
    case: tuple[Node, int, int],
) -> None:
    node, kernel, size = case
    window = read_window(node, (kernel,), (size,))
    assume(window.size_out[0] > 0)

    places = [place for taps in places_of(window) for place in taps]

    assert window.missing[0] == max(0, max(places) - size + 1)
    assert window.is_unpadded == (min(places) >= 0 and max(places) < size)


@given(pools())
def test_a_tflite_padding_mode_reads_the_same_elements(case: tuple[Node, int, int]) -> None:
    node, kernel, size = case
    window = read_window(node, (kernel,), (size,))
    assume(window.size_out[0] > 0 and window.padding is not None)
    step, reach = window.stride[0], window.reach[0]

    # Source: TensorFlow, tf.nn, notes on padding.
    if window.padding is Padding.VALID:
        count, first = -(-(size - reach + 1) // step), 0
    else:
        count = -(-size // step)
        first = -(max((count - 1) * step + reach - size, 0) // 2)
    taps = range(0, reach, window.dilation[0])
    tflite = [[first + out * step + tap for tap in taps] for out in range(count)]
    assert tflite == places_of(window)


def test_a_window_of_one_axis_becomes_a_flat_window_of_two() -> None:
    node = Node("Conv", ("x",), ("y",), {"strides": (2,), "pads": (1, 1)}, "conv")

    window = read_window(node, (3,), (9,)).with_height()

    assert (window.kernel, window.stride, window.before) == ((1, 3), (1, 2), (0, 1))
    assert (window.size_in, window.size_out) == ((1, 9), (1, 5))
