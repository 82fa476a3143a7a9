"""What a tensor is called, how large it is, and how it lies in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from edgekit.errors import ShapeError
from edgekit.quantization import Quantization

if TYPE_CHECKING:
    import numpy as np

Dim = int | str
"""A dimension: a size, or the name of a dynamic one (``"batch"``)."""


class DType(str, Enum):
    """Element type; the value is the numpy (or ml_dtypes) name."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    FLOAT64 = "float64"
    BFLOAT16 = "bfloat16"
    INT4 = "int4"
    UINT4 = "uint4"
    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    INT64 = "int64"
    UINT64 = "uint64"
    BOOL = "bool"
    STRING = "string"

    @property
    def is_float(self) -> bool:
        """Whether it is a floating-point type."""
        return self.value.startswith(("float", "bfloat"))

    def to_numpy(self) -> np.dtype[Any]:
        """Return the numpy dtype (ml_dtypes' for those that numpy lacks)."""
        import numpy

        kind: object = object if self is DType.STRING else self.value
        if self in (DType.BFLOAT16, DType.INT4, DType.UINT4):
            import ml_dtypes

            kind = getattr(ml_dtypes, self.value)
        dtype: np.dtype[Any] = numpy.dtype(kind)  # type: ignore[call-overload]
        return dtype

    @classmethod
    def from_numpy(cls, dtype: np.dtype[Any]) -> DType:
        """Return the DType of a numpy dtype.

        Raises:
            ValueError: EdgeKit has no name for it.
        """
        return cls.STRING if dtype.kind in "OSU" else cls(dtype.name)


class Layout(str, Enum):
    """Meaning of the axes, outermost first; UNKNOWN where nobody said."""

    NCHW = "NCHW"
    NHWC = "NHWC"
    NCDHW = "NCDHW"
    NDHWC = "NDHWC"
    NCL = "NCL"
    NLC = "NLC"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class TensorSpec:
    """One input, output or intermediate tensor.

    Args:
        name: Its name; unique within its model.
        dtype: Element type.
        shape: Sizes, outermost first; a dynamic size is its name; None where the
            rank itself is unknown.
        layout: Meaning of the axes.
        quantization: How integers map to real values; None for a plain tensor.
        permutation: For an artifact that stores the tensor transposed: stored axis
            ``i`` is axis ``permutation[i]`` of the source model's tensor. ``shape``
            and ``layout`` describe the stored tensor. None means the same order.
    """

    name: str
    dtype: DType
    shape: tuple[Dim, ...] | None
    layout: Layout = Layout.UNKNOWN
    quantization: Quantization | None = None
    permutation: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.shape is not None:
            for dim in self.shape:
                if isinstance(dim, int) and dim < 0:
                    raise ShapeError(
                        f"tensor {self.name!r} has size {dim} in {self.shape}; sizes are >= 0, "
                        "a dynamic one is written as a name"
                    )
        if self.permutation is not None and (
            self.shape is None or sorted(self.permutation) != list(range(len(self.shape)))
        ):
            raise ShapeError(
                f"tensor {self.name!r} of shape {self.shape} cannot have permutation "
                f"{self.permutation}"
            )

    @property
    def is_static(self) -> bool:
        """Whether every size is known."""
        return self.shape is not None and all(isinstance(dim, int) for dim in self.shape)

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape, all sizes known.

        Raises:
            ShapeError: A size is dynamic, or the rank is unknown.
        """
        if self.shape is None or not self.is_static:
            raise ShapeError(
                f"tensor {self.name!r} has shape {self.shape}; a fixed one is needed: "
                "give it with --shape NAME:1x3x224x224"
            )
        return tuple(dim for dim in self.shape if isinstance(dim, int))

    def with_shape(self, shape: tuple[Dim, ...] | None) -> TensorSpec:
        """Return the same tensor with another shape."""
        return replace(self, shape=shape)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict; absent keys have their default."""
        data: dict[str, Any] = {
            "name": self.name,
            "dtype": self.dtype.value,
            "shape": None if self.shape is None else list(self.shape),
        }
        if self.layout is not Layout.UNKNOWN:
            data["layout"] = self.layout.value
        if self.quantization is not None:
            data["quantization"] = self.quantization.to_json()
        if self.permutation is not None:
            data["permutation"] = list(self.permutation)
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TensorSpec:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError, KeyError, TypeError: A field is missing or malformed.
        """
        shape = data["shape"]
        quantization = data.get("quantization")
        permutation = data.get("permutation")
        return cls(
            name=str(data["name"]),
            dtype=DType(data["dtype"]),
            shape=None if shape is None else tuple(_read_dim(dim) for dim in shape),
            layout=Layout(data.get("layout", "unknown")),
            quantization=None if quantization is None else Quantization.from_json(quantization),
            permutation=None if permutation is None else tuple(int(axis) for axis in permutation),
        )

    def __str__(self) -> str:
        shape = "?" if self.shape is None else "x".join(map(str, self.shape)) or "scalar"
        return f"{self.name} {self.dtype.value} {shape}"


def _read_dim(dim: object) -> Dim:
    if isinstance(dim, bool) or not isinstance(dim, (int, str)):
        raise TypeError(f"a size is a number or a name, not {dim!r}")
    return dim
