"""Smallest, usual and largest shapes of inputs with dynamic sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.errors import UsageError
from edgekit.registry import unknown_name
from edgekit.tensor import TensorSpec

Shape = tuple[int, ...]
Sizes = tuple[Shape, Shape, Shape]
"""Smallest, usual and largest shape of one input."""


@dataclass(frozen=True)
class Profile:
    """The shapes that one optimization profile holds.

    Args:
        shapes: By input, for those with a dynamic size.
    """

    shapes: Mapping[str, Sizes]

    def to_json(self) -> dict[str, list[list[int]]]:
        """Return a JSON-ready dict."""
        return {name: [list(shape) for shape in sizes] for name, sizes in self.shapes.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Profile:
        """Read what ``to_json`` or an artifact's recipe wrote."""
        return cls({str(name): _read_sizes(sizes) for name, sizes in data.items()})


def parse_profile(text: str) -> tuple[str, Sizes]:
    """Read one ``--shape`` option: an input's name and its shapes.

    ``x:1x3x224x224`` is one shape; ``x:1x3x224x224..8x3x640x640`` the smallest and the
    largest; ``x:MIN..OPT..MAX`` the usual one between them, which kernels are chosen for.
    Where only two are given, the usual one has the smallest first size (frames come one at a
    time) and the largest others.

    Raises:
        UsageError: The text is malformed, or the sizes are not in order.
    """
    name, colon, rest = text.rpartition(":")
    try:
        shapes = [tuple(int(size) for size in part.split("x")) for part in rest.split("..")]
    except ValueError:
        shapes = []
    if not colon or not name or not 1 <= len(shapes) <= 3:
        raise UsageError(
            f"shape {text!r}; one reads NAME:1x3x224x224, NAME:MIN..MAX or NAME:MIN..OPT..MAX"
        )
    smallest, largest = shapes[0], shapes[-1]
    usual = shapes[1] if len(shapes) == 3 else (*smallest[:1], *largest[1:])
    return name, check_sizes(name, (smallest, usual, largest))


def check_sizes(name: str, sizes: Sizes) -> Sizes:
    """Return the shapes if they are in order.

    Raises:
        UsageError: They differ in rank, hold a size below 1, or are not in order.
    """
    words = "..".join("x".join(map(str, shape)) for shape in sizes)
    if len({len(shape) for shape in sizes}) != 1:
        raise UsageError(f"shapes of input {name!r}, {words}: all must have the same rank")
    for low, usual, high in zip(*sizes, strict=True):
        if not 1 <= low <= usual <= high:
            raise UsageError(
                f"shapes of input {name!r}, {words}: every size must be at least 1, and "
                f"min <= opt <= max; {low}, {usual}, {high} is not"
            )
    return sizes


def fit_profiles(
    profiles: Sequence[Profile], inputs: Sequence[TensorSpec], *, assumed: Sequence[Profile]
) -> tuple[Profile, ...]:
    """Return profiles that cover every dynamic input, and contradict none.

    Args:
        profiles: The caller's; may leave inputs out.
        inputs: The artifact's.
        assumed: The recipe's, for what the caller leaves out.

    Raises:
        UsageError: A name is unknown, or a fixed size differs.
    """
    named = {spec.name: spec for spec in inputs}
    dynamic = tuple(spec.name for spec in inputs if not spec.is_static)
    filled = []
    for index, profile in enumerate(profiles or assumed):
        for name, sizes in profile.shapes.items():
            if name not in named:
                raise UsageError(unknown_name(name, tuple(named), kind="input"))
            check_sizes(name, sizes)
            _check_fixed(named[name], sizes)
        base = assumed[min(index, len(assumed) - 1)].shapes if assumed else {}
        shapes = {**base, **profile.shapes}
        missing = [name for name in dynamic if name not in shapes]
        if missing:
            raise UsageError(
                f"input {missing[0]!r} has dynamic sizes and no profile; "
                f"give them: --shape {missing[0]}:MIN..MAX"
            )
        filled.append(Profile({name: shapes[name] for name in dynamic}))
    return tuple(profile for profile in filled if profile.shapes)


def _check_fixed(spec: TensorSpec, sizes: Sizes) -> None:
    shape = spec.shape
    if shape is None:
        return
    for given in sizes:
        fits = len(given) == len(shape) and all(
            dim == size for dim, size in zip(shape, given, strict=True) if isinstance(dim, int)
        )
        if not fits:
            raise UsageError(
                f"shape {'x'.join(map(str, given))} does not fit input {spec}; "
                "keep its rank and its fixed sizes"
            )


def _read_sizes(sizes: Any) -> Sizes:
    keyed = isinstance(sizes, Mapping)
    low, usual, high = (sizes[key] for key in (("min", "opt", "max") if keyed else (0, 1, 2)))
    return _shape(low), _shape(usual), _shape(high)


def _shape(values: Sequence[Any]) -> Shape:
    return tuple(int(value) for value in values)
