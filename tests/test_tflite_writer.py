"""The writer, proved by the runtime: models built by hand, run, compared with numpy."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tflite_models import (
    F32,
    constant,
    conv_relu_model,
    doubling_loop,
    int8_conv_model,
    one_graph,
)

from edgekit.converters.emitters.tflite.model import Model, Operator, Tensor
from edgekit.converters.emitters.tflite.writer import model_to_bytes, write_model
from edgekit.errors import ModelFormatError
from edgekit.tensor import DType

FLOAT32_ATOL = 1e-5  # 24-bit significand, sums of up to 100 terms of size 1


@pytest.fixture(params=["xnnpack", "reference"])
def run(request: pytest.FixtureRequest):
    """Return a function that runs a model through its signature, with or without XNNPACK."""
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert runs it")
    kinds = litert.OpResolverType
    resolver = {"xnnpack": kinds.AUTO, "reference": kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES}

    def run_model(model: Model, **inputs: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
        interpreter = litert.Interpreter(
            model_content=model_to_bytes(model),
            experimental_op_resolver_type=resolver[request.param],
        )
        return interpreter.get_signature_runner("serving_default")(**inputs)

    return run_model


def convolve_valid(image: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convolve (1, H, W, C) with (O, 3, 3, C), no padding: the textbook sum."""
    windows = np.lib.stride_tricks.sliding_window_view(image[0], (3, 3), axis=(0, 1))
    return np.einsum("hwcij,oijc->hwo", windows, weight)[None]


def test_convolution_with_fused_relu_computes_the_textbook_sum(run) -> None:
    rng = np.random.default_rng(0)
    image = rng.standard_normal((1, 8, 8, 3), np.float32)
    weight = rng.standard_normal((4, 3, 3, 3), np.float32)
    bias = rng.standard_normal(4, np.float32)

    outputs = run(conv_relu_model(weight, bias), image=image)

    expected = np.maximum(convolve_valid(image.astype(float), weight.astype(float)) + bias, 0)
    np.testing.assert_allclose(outputs["features"], expected, atol=FLOAT32_ATOL)


def test_transposed_weights_are_stored_in_their_own_order(run) -> None:
    rng = np.random.default_rng(1)
    image = rng.standard_normal((1, 8, 8, 3), np.float32)
    weight_oihw = rng.standard_normal((4, 3, 3, 3), np.float32)
    weight = weight_oihw.transpose(0, 2, 3, 1)
    bias = np.zeros(4, np.float32)

    outputs = run(conv_relu_model(weight, bias), image=image)

    expected = np.maximum(convolve_valid(image.astype(float), weight.astype(float)), 0)
    np.testing.assert_allclose(outputs["features"], expected, atol=FLOAT32_ATOL)


def test_fully_connected_keeps_the_leading_axes_and_its_missing_bias_is_absent(run) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2, 3, 5), np.float32)
    weight = rng.standard_normal((7, 5), np.float32)
    source = Tensor("x", (2, 3, 5), F32)
    result = Tensor("y", (2, 3, 7), F32)
    dense = Operator(
        "FULLY_CONNECTED",
        [source, constant("w", weight), None],
        [result],
        {"keep_num_dims": True},
    )

    outputs = run(one_graph([source], [result], [dense]), x=x)

    np.testing.assert_allclose(outputs["y"], x @ weight.T, atol=FLOAT32_ATOL)


def test_reshape_takes_its_shape_from_options_and_input(run) -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    source = Tensor("x", (2, 6), F32)
    result = Tensor("y", (3, 4), F32)
    shape = constant("shape", np.array([3, 4], np.int32))
    reshape = Operator("RESHAPE", [source, shape], [result], {"new_shape": (3, 4)})

    outputs = run(one_graph([source], [result], [reshape]), x=x)

    np.testing.assert_array_equal(outputs["y"], x.reshape(3, 4))


def test_while_loop_runs_its_two_subgraphs(run) -> None:
    value = np.array([1, -2, 0.5], np.float32)

    outputs = run(doubling_loop(), count=np.array(2, np.int32), value=value)

    # From 2 to 5 the loop runs three times.
    assert outputs["count"] == 5
    np.testing.assert_array_equal(outputs["value"], value * 8)


def test_per_channel_int8_convolution_is_within_one_step_of_the_formula(run) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(-128, 128, (1, 8, 8, 3), np.int8)
    weight = rng.integers(-127, 128, (4, 3, 3, 3), np.int8)
    bias = rng.integers(-500, 500, 4, np.int32)

    outputs = run(int8_conv_model(weight, bias), image=image)

    # real = scale * (integer - zero point), LiteRT 8-bit quantization specification.
    total = convolve_valid(image.astype(float) - 3, weight.astype(float)) + bias
    real = total * 0.05 * np.array([0.01, 0.02, 0.03, 0.04])
    expected = np.clip(np.round(real / 0.3) - 10, -128, 127)
    assert np.abs(outputs["features"].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("dtype", [DType.INT32, DType.INT64, DType.BOOL, DType.INT8])
def test_constants_of_every_type_come_out_as_they_went_in(run, dtype: DType) -> None:
    data = np.array([0, 1, 1, 0, 1, 0], dtype.to_numpy()).reshape(2, 3)
    source = Tensor("x", (2, 3), dtype)
    result = Tensor("y", (2, 6), dtype)
    concat = Operator("CONCATENATION", [source, constant("c", data)], [result], {"axis": 1})

    outputs = run(one_graph([source], [result], [concat]), x=data)

    np.testing.assert_array_equal(outputs["y"], np.concatenate([data, data], 1))


def test_float16_weights_are_dequantized_by_the_runtime(run) -> None:
    half = np.linspace(-2, 2, 6, dtype=np.float16)
    source, result = Tensor("x", (6,), F32), Tensor("y", (6,), F32)
    full = Tensor("full", (6,), F32)
    widen = Operator("DEQUANTIZE", [constant("half", half)], [full])
    add = Operator("ADD", [source, full], [result])

    outputs = run(one_graph([source], [result], [widen, add]), x=np.zeros(6, np.float32))

    np.testing.assert_array_equal(outputs["y"], half.astype(np.float32))


def test_every_constant_is_aligned_to_16_bytes_in_the_file() -> None:
    rng = np.random.default_rng(4)
    weight = rng.standard_normal((4, 3, 3, 3), np.float32)
    bias = rng.standard_normal(4, np.float32)

    data = model_to_bytes(conv_relu_model(weight, bias))

    assert data.index(weight.tobytes()) % 16 == 0
    assert data.index(bias.tobytes()) % 16 == 0


def test_equal_small_constants_and_one_shared_large_array_are_stored_once() -> None:
    small = np.arange(64, dtype=np.float32)
    large = np.random.default_rng(5).standard_normal((256, 256)).astype(np.float32)
    source = Tensor("x", (256, 256), F32)
    current, operators = source, []
    for number, data in enumerate([small, small.copy()] * 2 + [large, large]):
        result = Tensor(f"y{number}", (256, 256), F32)
        row = np.resize(data, (256, 256)) if data.ndim == 1 else data
        shaped = constant(f"c{number}", row[:64] if data.ndim == 1 else row)
        operators.append(Operator("ADD", [current, shaped], [result]))
        current = result

    data = model_to_bytes(one_graph([source], [current], operators))

    assert data.count(large.tobytes()) == 1
    assert data.count(small.tobytes() * 256) == 1


def test_the_same_model_gives_the_same_bytes() -> None:
    first = model_to_bytes(doubling_loop(), files={"labels.txt": b"cat\ndog\n"})

    assert model_to_bytes(doubling_loop(), files={"labels.txt": b"cat\ndog\n"}) == first


def test_files_are_zipped_onto_the_end_and_the_model_still_runs(run) -> None:
    data = model_to_bytes(doubling_loop(), files={"labels.txt": b"cat\ndog\n"})

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entry = archive.getinfo("labels.txt")
        assert archive.read("labels.txt") == b"cat\ndog\n"
    # MediaPipe's reader takes stored entries only.
    assert entry.compress_type == zipfile.ZIP_STORED
    assert data.startswith(model_to_bytes(doubling_loop()))


def test_file_over_two_gigabytes_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    # Zero strides: 2.4 GB in name only.
    weight = np.broadcast_to(np.float32(1), (300, 2_000_000))
    source, result = Tensor("x", (1, 2_000_000), F32), Tensor("y", (1, 300), F32)
    dense = Operator("FULLY_CONNECTED", [source, constant("w", weight), None], [result])
    path = tmp_path / "large.tflite"

    with pytest.raises(ModelFormatError, match=r"2400\d{6} bytes.*quantize"):
        write_model(one_graph([source], [result], [dense]), path)
    assert list(tmp_path.iterdir()) == []


def test_written_file_has_the_bytes_and_no_leftover_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "loop.tflite"

    write_model(doubling_loop(), path)

    assert path.read_bytes() == model_to_bytes(doubling_loop())
    assert list(tmp_path.iterdir()) == [path]
