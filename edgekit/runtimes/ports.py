"""The border of a session: one port per tensor checks it and turns it over.

A port is made once, when the session opens; what can be worked out then is not worked
out per call. Outside of it a tensor is *logical* (as in the source model), inside it is
*stored* (as the artifact has it: permuted, quantized, in another dtype).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.preprocess import Preprocess
from edgekit.runtimes.codec import decoder, encoder
from edgekit.tensor import Dim, Layout, TensorSpec

Array = NDArray[Any]
Sizes = dict[str, tuple[int, str]]
"""Per name of a dynamic size: the size seen in this call, and the tensor that had it."""


class InputPort:
    """Takes one logical array or camera frame, gives the array that the engine reads.

    Args:
        logical: What callers pass.
        stored: What the artifact takes.
        preprocess: How a uint8 frame becomes this input; None refuses frames.
        is_fused: Whether the artifact itself normalises, so that a frame only needs to
            be made to fit.
        needs_c_order: Whether the engine cannot read a strided array.
    """

    __slots__ = (
        "_dtype",
        "_encode",
        "_fused_spec",
        "_needs_c_order",
        "_permutation",
        "_preprocess",
        "_shape",
        "name",
        "spec",
    )

    def __init__(
        self,
        logical: TensorSpec,
        stored: TensorSpec,
        *,
        preprocess: Preprocess | None,
        is_fused: bool,
        needs_c_order: bool,
    ) -> None:
        self.name = logical.name
        self.spec = logical
        self._dtype = logical.dtype.to_numpy()
        self._shape = logical.static_shape if logical.is_static else None
        self._permutation = stored.permutation
        self._encode = encoder(logical, stored)
        self._preprocess = preprocess
        self._fused_spec = _source_spec(stored, preprocess) if is_fused else None
        self._needs_c_order = needs_c_order

    def encode(self, value: Array, sizes: Sizes, *, copy: bool) -> Array:
        """Return the stored array; it shares the caller's memory where nothing had to change.

        Args:
            value: Logical array, or uint8 frame (height, width[, channels]).
            sizes: Dynamic sizes seen in this call; added to.
            copy: Whether the result must not share the caller's memory.

        Raises:
            InputError: It is not an array, or has another dtype or shape.
        """
        is_exact = (
            isinstance(value, np.ndarray)
            and value.shape == self._shape
            and value.dtype == self._dtype
        )
        array = value if is_exact else self._accept(value, sizes)
        if self._encode is not None:
            array = self._encode(array)
        if self._permutation is not None:
            array = array.transpose(self._permutation)
        if copy and np.may_share_memory(array, value):
            return np.array(array, order="C")
        if self._needs_c_order and not array.flags.c_contiguous:
            return np.ascontiguousarray(array)
        return array

    def _accept(self, value: object, sizes: Sizes) -> Array:
        if not isinstance(value, np.ndarray):
            raise InputError(
                f"input {self.name!r} is a {type(value).__name__}; a numpy array is needed: "
                f"numpy.asarray(value, {self._dtype.name!r})"
            )
        if self._preprocess is not None and value.ndim in (2, 3) and value.dtype == np.uint8:
            if self._fused_spec is None:
                value = self._preprocess.apply(value, self.spec)
            else:
                value = self._preprocess.fit(value, self._fused_spec)
        if value.dtype != self._dtype:
            raise InputError(
                f"input {self.name!r} has dtype {value.dtype}; this model takes "
                f"{self._dtype.name}: convert it with .astype({self._dtype.name!r})"
            )
        check_shape(self.spec, value.shape, sizes, kind="input")
        return value


class OutputPort:
    """Turns the engine's array into the logical one, into the caller's buffer if there is one."""

    __slots__ = ("_decode", "_dtype", "_inverse", "_permutation", "_shape", "name", "spec")

    def __init__(self, logical: TensorSpec, stored: TensorSpec) -> None:
        self.name = logical.name
        self.spec = logical
        self._dtype = logical.dtype.to_numpy()
        self._shape = logical.static_shape if logical.is_static else None
        self._permutation = stored.permutation
        self._inverse = None if stored.permutation is None else inverse(stored.permutation)
        self._decode = decoder(logical, stored)

    def decode(self, array: Array) -> Array:
        """Return the logical array; a permuted one is a view, not a copy."""
        if self._inverse is not None:
            array = array.transpose(self._inverse)
        return array if self._decode is None else self._decode(array)

    def check_buffer(self, buffer: object, sizes: Sizes) -> Array:
        """Return the buffer that ``run(outputs=...)`` was given, checked.

        Raises:
            InputError: It is not a writeable array of the output's dtype and shape.
        """
        if (
            isinstance(buffer, np.ndarray)
            and buffer.shape == self._shape
            and buffer.dtype == self._dtype
            and buffer.flags.writeable
        ):
            return buffer
        if not isinstance(buffer, np.ndarray):
            raise InputError(
                f"the buffer for output {self.name!r} is a {type(buffer).__name__}; "
                "a numpy array is needed"
            )
        if buffer.dtype != self._dtype:
            raise InputError(
                f"the buffer for output {self.name!r} has dtype {buffer.dtype}; "
                f"this model gives {self._dtype.name}"
            )
        if not buffer.flags.writeable:
            raise InputError(f"the buffer for output {self.name!r} is read-only; give another")
        check_shape(self.spec, buffer.shape, sizes, kind="the buffer for output")
        return buffer

    def stored_view(self, buffer: Array, *, needs_c_order: bool) -> Array | None:
        """Return the buffer as the engine can fill it itself, or None where it cannot."""
        if self._decode is not None or self._shape is None:
            return None
        view = buffer if self._permutation is None else buffer.transpose(self._permutation)
        return view if view.flags.c_contiguous or not needs_c_order else None

    def fill(self, buffer: Array, array: Array) -> None:
        """Copy a decoded array into the caller's buffer.

        Raises:
            InputError: The output, whose shape is dynamic, came out in another shape.
        """
        if array.shape != buffer.shape:
            raise InputError(
                f"the buffer for output {self.name!r} has shape {_text(buffer.shape)}; with these "
                f"inputs the model gives {_text(array.shape)}"
            )
        np.copyto(buffer, array)


def _source_spec(stored: TensorSpec, preprocess: Preprocess | None) -> TensorSpec | None:
    """Return the input that the preprocessing was written for, from the pixels that are stored."""
    if preprocess is None or stored.shape is None or len(stored.shape) != 4:
        return None
    batch, height, width, _ = stored.shape
    shape: tuple[Dim, ...] = (batch, height, width, preprocess.channels)
    if preprocess.layout is Layout.NCHW:
        shape = (batch, preprocess.channels, height, width)
    return TensorSpec(stored.name, preprocess.dtype, shape, preprocess.layout)


def inverse(permutation: tuple[int, ...]) -> tuple[int, ...]:
    """Return the permutation that undoes this one."""
    return tuple(sorted(range(len(permutation)), key=permutation.__getitem__))


def check_shape(spec: TensorSpec, got: tuple[int, ...], sizes: Sizes, *, kind: str) -> None:
    """Check a shape against the spec, and its dynamic sizes against each other.

    Raises:
        InputError: They disagree.
    """
    if spec.shape is None:
        return
    if len(got) != len(spec.shape) or not all(map(_fits, spec.shape, got)):
        raise InputError(
            f"{kind} {spec.name!r} has shape {_text(got)}; this model takes {_text(spec.shape)}: "
            "resize it, or convert the model again with --shape"
        )
    for dim, size in zip(spec.shape, got, strict=True):
        if isinstance(dim, str):
            seen, where = sizes.setdefault(dim, (size, spec.name))
            if seen != size:
                raise InputError(
                    f"{kind} {spec.name!r} has size {size} for {dim!r}, but {where!r} has {seen}; "
                    "a named size must be the same everywhere"
                )


def _fits(dim: Dim, size: int) -> bool:
    return isinstance(dim, str) or dim == size


def _text(shape: tuple[Dim, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
