"""Permutations: how a tensor that keeps its ONNX meaning lies in memory.

A *permutation* ``p`` says that stored axis ``i`` holds logical (ONNX) axis ``p[i]``. An
NCHW activation stored channels-last has ``p = (0, 2, 3, 1)``. Carrying the permutation
along makes Transpose free, lets Reshape pass without moving data where the groups of
axes allow it, and leaves one TRANSPOSE where a kernel really insists on an order.
"""

from __future__ import annotations

from collections.abc import Sequence

Permutation = tuple[int, ...]


def identity(rank: int) -> Permutation:
    """Return the permutation of a tensor stored as ONNX has it."""
    return tuple(range(rank))


def channels_last(rank: int) -> Permutation:
    """Return the order (N, spatial..., C) for logical (N, C, spatial...)."""
    return (0, *range(2, rank), 1) if rank > 2 else identity(rank)


def invert(permutation: Sequence[int]) -> Permutation:
    """Return ``q`` with ``q[permutation[i]] == i``: where each logical axis is stored."""
    inverse = [0] * len(permutation)
    for stored, logical in enumerate(permutation):
        inverse[logical] = stored
    return tuple(inverse)


def stored_shape(shape: Sequence[int], permutation: Sequence[int]) -> tuple[int, ...]:
    """Return the sizes in stored order."""
    return tuple(shape[axis] for axis in permutation)


def logical_shape(stored: Sequence[int], permutation: Sequence[int]) -> tuple[int, ...]:
    """Return the sizes in ONNX order."""
    return tuple(stored[axis] for axis in invert(permutation))


def transposition(have: Sequence[int], want: Sequence[int]) -> Permutation:
    """Return the axes argument of a TRANSPOSE that turns order ``have`` into ``want``."""
    where = invert(have)
    return tuple(where[axis] for axis in want)


def moves_data(have: Sequence[int], want: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether going from one order to the other moves elements (axes of size 1 do not)."""
    return [axis for axis in have if shape[axis] != 1] != [
        axis for axis in want if shape[axis] != 1
    ]


def extend(permutation: Sequence[int], rank: int) -> Permutation:
    """Return the permutation after broadcasting prepends axes up to ``rank``."""
    added = rank - len(permutation)
    return (*range(added), *(axis + added for axis in permutation))


def without_axes(permutation: Sequence[int], axes: Sequence[int]) -> Permutation:
    """Return the permutation after logical ``axes`` are removed from the tensor."""
    kept = [axis for axis in range(len(permutation)) if axis not in set(axes)]
    rename = {axis: index for index, axis in enumerate(kept)}
    return tuple(rename[axis] for axis in permutation if axis in rename)


def reshape_orders(
    source: Sequence[int], permutation: Sequence[int], target: Sequence[int]
) -> tuple[Permutation, Permutation]:
    """Return the order of the source from which a logical reshape is a plain RESHAPE.

    The axes of both shapes are cut into the smallest groups of equal product. Within a
    group the source axes must be stored side by side and in order; the groups themselves
    stay where they are stored, so channels-last stays channels-last.

    Args:
        source: Logical shape before.
        permutation: How it is stored.
        target: Logical shape after; the same number of elements.

    Returns:
        The order that the source must have (``permutation`` itself where nothing moves),
        and the order in which the target is stored then.
    """
    groups = _reshape_groups(source, target)
    if groups is None:
        return identity(len(source)), identity(len(target))
    where = invert(permutation)
    placed: list[tuple[int, list[int], list[int]]] = []
    loose: list[int] = []
    for source_axes, target_axes in groups:
        real = [axis for axis in source_axes if source[axis] != 1]
        if real:
            placed.append((max(where[axis] for axis in real), real, target_axes))
        else:
            loose += target_axes
    placed.sort()
    needed = [axis for _, axes, _ in placed for axis in axes]
    ones = [axis for axis in range(len(source)) if source[axis] == 1]
    order = (*needed, *ones)
    if not moves_data(permutation, order, source):
        order = tuple(permutation)
    ordered = [axis for _, _, axes in placed for axis in axes]
    for axis in loose:  # an axis of size 1 goes behind the axis that precedes it logically
        position = ordered.index(axis - 1) + 1 if axis - 1 in ordered else 0
        ordered.insert(position, axis)
    return order, tuple(ordered)


def _reshape_groups(
    source: Sequence[int], target: Sequence[int]
) -> list[tuple[list[int], list[int]]] | None:
    if 0 in source or 0 in target:
        return None
    groups: list[tuple[list[int], list[int]]] = []
    left, right = 0, 0
    while left < len(source) or right < len(target):
        source_axes, target_axes = [], []
        source_size = target_size = 1
        if left < len(source):
            source_axes.append(left)
            source_size = source[left]
            left += 1
        if right < len(target) and (not source_axes or source_size != 1 or target[right] == 1):
            target_axes.append(right)
            target_size = target[right]
            right += 1
        while source_size != target_size:
            if source_size < target_size:
                if left == len(source):
                    return None
                source_axes.append(left)
                source_size *= source[left]
                left += 1
            else:
                if right == len(target):
                    return None
                target_axes.append(right)
                target_size *= target[right]
                right += 1
        groups.append((source_axes, target_axes))
    return groups
