"""A tensor's description survives JSON, and impossible ones are refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ShapeError
from edgekit.quantization import Quantization
from edgekit.tensor import DType, Layout, TensorSpec

SCALES = st.floats(min_value=1e-30, max_value=1e30, allow_nan=False)


@st.composite
def quantizations(draw: st.DrawFn) -> Quantization:
    axis = draw(st.none() | st.integers(0, 4))
    count = 1 if axis is None else draw(st.integers(1, 5))
    scale = draw(st.lists(SCALES, min_size=count, max_size=count))
    zero_point = draw(st.lists(st.integers(-128, 255), min_size=count, max_size=count))
    return Quantization(tuple(scale), tuple(zero_point), axis)


@st.composite
def specs(draw: st.DrawFn) -> TensorSpec:
    dims = st.integers(0, 2**31) | st.text(min_size=1, max_size=8)
    shape = draw(st.none() | st.lists(dims, max_size=5).map(tuple))
    permutation = None
    if shape is not None and draw(st.booleans()):
        permutation = tuple(draw(st.permutations(range(len(shape)))))
    return TensorSpec(
        name=draw(st.text(min_size=1)),
        dtype=draw(st.sampled_from(DType)),
        shape=shape,
        layout=draw(st.sampled_from(Layout)),
        quantization=draw(st.none() | quantizations()),
        permutation=permutation,
    )


@given(specs())
def test_a_spec_survives_json(spec: TensorSpec) -> None:
    text = json.dumps(spec.to_json(), allow_nan=False)

    assert TensorSpec.from_json(json.loads(text)) == spec


@given(quantizations())
def test_a_quantization_survives_json(quantization: Quantization) -> None:
    text = json.dumps(quantization.to_json(), allow_nan=False)

    assert Quantization.from_json(json.loads(text)) == quantization


@dataclass(frozen=True)
class Permutation:
    id: str
    shape: tuple[int, ...] | None
    axes: tuple[int, ...]


@pytest.mark.parametrize(
    "case",
    [
        Permutation("twice", (1, 2, 3), (0, 0, 1)),
        Permutation("short", (1, 2, 3), (0, 1)),
        Permutation("long", (1, 2), (0, 1, 2)),
        Permutation("negative", (1, 2), (-1, 0)),
        Permutation("of_unknown_rank", None, (0, 1)),
    ],
    ids=lambda case: case.id,
)
def test_an_impossible_permutation_is_refused(case: Permutation) -> None:
    with pytest.raises(ShapeError, match="cannot have permutation"):
        TensorSpec("x", DType.FLOAT32, case.shape, permutation=case.axes)


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ShapeError, match="'x' has size -1"):
        TensorSpec("x", DType.FLOAT32, (1, -1))


@pytest.mark.parametrize("shape", [("batch", 3), None], ids=["dynamic", "unknown"])
def test_a_dynamic_shape_is_not_static(shape: tuple[int | str, ...] | None) -> None:
    spec = TensorSpec("x", DType.FLOAT32, shape)

    assert not spec.is_static
    with pytest.raises(ShapeError, match="--shape"):
        _ = spec.static_shape


def test_a_static_shape_is_given_as_numbers() -> None:
    assert TensorSpec("x", DType.FLOAT32, (1, 3)).static_shape == (1, 3)


@pytest.mark.parametrize("dim", [True, 1.5, None, [1]])
def test_a_size_that_is_no_number_or_name_is_refused(dim: Any) -> None:
    with pytest.raises(TypeError, match="a size is a number or a name"):
        TensorSpec.from_json({"name": "x", "dtype": "float32", "shape": [dim]})


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype is not DType.STRING])
def test_a_dtype_survives_numpy(dtype: DType) -> None:
    assert DType.from_numpy(dtype.to_numpy()) is dtype


def test_types_that_numpy_lacks_are_those_of_ml_dtypes() -> None:
    assert DType.BFLOAT16.to_numpy() == np.dtype(ml_dtypes.bfloat16)
    assert DType.UINT4.to_numpy() == np.dtype(ml_dtypes.uint4)


@pytest.mark.parametrize("kind", ["U3", "S3", "O"])
def test_text_of_any_kind_is_a_string(kind: str) -> None:
    assert DType.from_numpy(np.dtype(kind)) is DType.STRING


def test_a_dtype_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="complex64"):
        DType.from_numpy(np.dtype("complex64"))


def test_float_types_are_told_from_the_others() -> None:
    floats = {dtype.value for dtype in DType if dtype.is_float}

    assert floats == {"float16", "float32", "float64", "bfloat16"}


def test_a_spec_reads_as_name_type_and_shape() -> None:
    assert str(TensorSpec("x", DType.FLOAT32, ("batch", 3, 4))) == "x float32 batchx3x4"
    assert str(TensorSpec("s", DType.INT64, ())) == "s int64 scalar"
    assert str(TensorSpec("u", DType.INT64, None)) == "u int64 ?"


@dataclass(frozen=True)
class BadQuantization:
    id: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None


@pytest.mark.parametrize(
    "case",
    [
        BadQuantization("empty", (), ()),
        BadQuantization("unequal", (1.0, 2.0), (0,), axis=0),
        BadQuantization("zero", (0.0,), (0,)),
        BadQuantization("negative", (-1.0,), (0,)),
        BadQuantization("nan", (float("nan"),), (0,)),
        BadQuantization("infinite", (float("inf"),), (0,)),
        BadQuantization("no_axis", (1.0, 2.0), (0, 0)),
    ],
    ids=lambda case: case.id,
)
def test_an_impossible_quantization_is_refused(case: BadQuantization) -> None:
    with pytest.raises(ValueError, match=r"scale"):
        Quantization(case.scale, case.zero_point, case.axis)
