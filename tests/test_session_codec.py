"""Frames, quantized and re-typed tensors at the border of a session."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import (
    ALL_RUNTIMES,
    SHAPE,
    BytesFiles,
    logical_specs,
    open_tiny,
    require,
    tflite_content,
)

from edgekit.artifact import Artifact
from edgekit.errors import EngineError, InputError, UsageError
from edgekit.preprocess import Preprocess
from edgekit.quantization import Quantization
from edgekit.runtimes.border import Border
from edgekit.runtimes.codec import logical_spec
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.plain import open_plain
from edgekit.runtimes.ports import inverse
from edgekit.tensor import DType, Layout, TensorSpec

Array = np.ndarray[Any, Any]
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
UINT8_CLASSIFIER = DATA / "model-cls-mobilenetv2-quant" / "mobilenet_v2_1.0_224_quant.tflite"


def border_of(
    logical: TensorSpec, stored: TensorSpec, preprocess: Preprocess | None = None
) -> Border:
    """One input and one output, which are the same tensor."""
    out = replace(logical, name="y")
    artifact = Artifact("onnx", "fp32", {}, (stored,), (replace(stored, name="y"),))
    return Border(
        artifact,
        inputs=(logical,),
        outputs=(out,),
        preprocess={} if preprocess is None else {logical.name: preprocess},
        reads_strided=False,
        writes_strided=False,
    )


@pytest.mark.parametrize("runtime", ALL_RUNTIMES)
@pytest.mark.parametrize("is_permuted", [False, True], ids=["plain", "permuted"])
def test_frame_is_preprocessed_for_an_input_that_says_how(runtime: str, is_permuted: bool) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed here")
    frame = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    preprocess = Preprocess(scale=(1 / 255,))
    b = np.zeros(SHAPE, np.float32)
    with open_tiny(runtime, is_permuted=is_permuted, preprocess={"a": preprocess}) as session:
        outputs = session.run({"a": frame, "b": b})

    expected = preprocess.apply(frame, logical_specs(("a",))[0])
    np.testing.assert_array_equal(outputs["sum"], expected)


def test_frame_for_an_input_without_preprocessing_is_an_array_like_any_other() -> None:
    frame = np.zeros((8, 10, 3), np.uint8)
    with (
        open_tiny("onnxruntime") as session,
        pytest.raises(InputError, match="input 'a' has dtype uint8; this model takes float32"),
    ):
        session.run({"a": frame, "b": np.zeros(SHAPE, np.float32)})


def test_array_is_still_taken_where_frames_are() -> None:
    inputs = {name: np.ones(SHAPE, np.float32) for name in ("a", "b")}
    with open_tiny("onnxruntime", preprocess={"a": Preprocess()}) as session:
        assert session.run(inputs)["sum"].mean() == 2


def fused_border() -> Border:
    logical = TensorSpec("image", DType.FLOAT32, (1, 3, 4, 5), Layout.NCHW)
    stored = TensorSpec("image", DType.UINT8, (1, 4, 5, 3), Layout.NHWC)
    output = TensorSpec("y", DType.FLOAT32, (1,))
    artifact = Artifact("onnx", "fp32", {}, (stored,), (output,), fused_preprocess=("image",))
    return Border(
        artifact,
        inputs=(logical,),
        outputs=(output,),
        preprocess={"image": Preprocess(scale=(1 / 255,))},
        reads_strided=False,
        writes_strided=False,
    )


def test_fused_input_is_told_as_the_pixels_that_the_artifact_takes() -> None:
    assert fused_border().inputs == (TensorSpec("image", DType.UINT8, (1, 4, 5, 3), Layout.NHWC),)


def test_frame_goes_raw_into_a_fused_input() -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed here")
    frame = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)

    (fed,) = fused_border().encode({"image": frame}, copy=False)

    assert np.shares_memory(fed, frame)
    np.testing.assert_array_equal(fed, frame[None])


def test_frame_of_another_size_is_fitted_for_a_fused_input() -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed here")

    (fed,) = fused_border().encode({"image": np.zeros((9, 9, 3), np.uint8)}, copy=False)

    assert fed.shape == (1, 4, 5, 3)
    assert fed.dtype == np.uint8


def test_batch_of_pixels_goes_into_a_fused_input_as_it_is() -> None:
    pixels = np.ones((1, 4, 5, 3), np.uint8)

    assert fused_border().encode({"image": pixels}, copy=False)[0] is pixels


def test_array_is_handed_over_without_a_copy_where_nothing_changes() -> None:
    spec = TensorSpec("x", DType.FLOAT32, (2, 3))
    array = np.zeros((2, 3), np.float32)

    assert border_of(spec, spec).encode({"x": array}, copy=False)[0] is array


def test_copy_is_made_when_it_is_asked_for() -> None:
    spec = TensorSpec("x", DType.FLOAT32, (2, 3))
    array = np.zeros((2, 3), np.float32)

    (fed,) = border_of(spec, spec).encode({"x": array}, copy=True)

    assert not np.shares_memory(fed, array)


def test_quantized_tensor_is_the_onnx_formula_in_and_out() -> None:
    # Expected by hand: q = saturate(round_half_even(x / 0.5) + 10), x = (q - 10) * 0.5.
    code = Quantization((0.5,), (10,))
    logical = TensorSpec("x", DType.FLOAT32, (5,))
    border = border_of(logical, TensorSpec("x", DType.INT8, (5,), quantization=code))
    real = np.array([0.25, 0.75, -1.0, 1000, -1000], np.float32)

    (stored,) = border.encode({"x": real}, copy=False)

    assert stored.dtype == np.int8
    assert stored.tolist() == [10, 12, 8, 127, -128]
    assert border.decode([stored])["y"].tolist() == [0.0, 1.0, -1.0, 58.5, -69.0]
    assert border.decode([stored])["y"].dtype == np.float32


def test_integer_that_does_not_fit_the_artifacts_dtype_is_refused() -> None:
    border = border_of(TensorSpec("x", DType.INT64, (1,)), TensorSpec("x", DType.INT32, (1,)))

    assert border.encode({"x": np.array([7])}, copy=False)[0].dtype == np.int32
    assert border.decode([np.array([7], np.int32)])["y"].dtype == np.int64
    with pytest.raises(InputError, match=r"do not fit int32.*4294967296"):
        border.encode({"x": np.array([1 << 32])}, copy=False)


def test_float_over_an_integer_without_scale_is_refused_when_it_is_opened() -> None:
    with pytest.raises(EngineError, match="one scale and zero point is needed"):
        border_of(TensorSpec("x", DType.FLOAT32, (1,)), TensorSpec("x", DType.INT8, (1,)))


def test_quantized_file_runs_on_real_numbers_when_the_manifest_says_so() -> None:
    code = Quantization((0.125,), (0,))
    stored = tuple(
        TensorSpec(name, DType.INT8, SHAPE, quantization=code)
        for name in ("a", "b", "sum", "product")
    )
    artifact = Artifact("tflite", "fp32", {}, stored[:2], stored[2:])
    session = require("litert").open(
        artifact,
        BytesFiles(tflite_content(SHAPE, code)),
        inputs=logical_specs(("a", "b")),
        outputs=logical_specs(("sum", "product")),
    )
    inputs = {"a": np.full(SHAPE, 1.5, np.float32), "b": np.full(SHAPE, 2.25, np.float32)}
    buffers = {"sum": np.zeros(SHAPE, np.float32)}

    outputs = session.run(inputs, outputs=buffers)

    assert outputs["sum"] is buffers["sum"]
    assert set(outputs["sum"].ravel()) == {3.75}
    assert set(outputs["product"].ravel()) == {3.375}


def test_quantized_file_without_a_manifest_takes_and_gives_its_integers() -> None:
    code = Quantization((0.125,), (0,))
    artifact = Artifact("tflite", "fp32", {}, (), ())
    session = require("litert").open(artifact, BytesFiles(tflite_content(SHAPE, code)))

    outputs = session.run({name: np.full(SHAPE, 8, np.int8) for name in ("a", "b")})

    assert session.inputs[0].quantization == code
    assert set(outputs["sum"].ravel()) == {16}
    assert outputs["sum"].dtype == np.int8


@pytest.mark.skipif(not UINT8_CLASSIFIER.exists(), reason="the real uint8 classifier is not here")
def test_real_uint8_classifier_runs_on_its_own_integers() -> None:
    session = require("litert").open(*open_plain(UINT8_CLASSIFIER))

    pixels = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)

    (scores,) = session.run({"input": pixels}).values()

    assert session.inputs[0].quantization == Quantization((0.0078125,), (128,))
    assert scores.dtype == np.uint8
    np.testing.assert_array_equal(scores, _raw_scores(pixels))


def _raw_scores(pixels: Array) -> Array:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(UINT8_CLASSIFIER))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    scores: Array = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return scores


def test_permutation_is_undone_in_shape_layout_and_channel_axis() -> None:
    stored = TensorSpec(
        "x",
        DType.INT8,
        (1, 4, 5, 2),
        Layout.NHWC,
        Quantization((1.0, 2.0), (0, 0), axis=3),
        permutation=(0, 2, 3, 1),
    )

    assert logical_spec(stored) == TensorSpec(
        "x", DType.INT8, (1, 2, 4, 5), Layout.NCHW, Quantization((1.0, 2.0), (0, 0), axis=1)
    )


@pytest.mark.parametrize("permutation", [(0, 2, 3, 1), (0, 3, 1, 2), (2, 0, 1), (0,), ()])
def test_inverse_undoes_the_permutation(permutation: tuple[int, ...]) -> None:
    array = np.zeros(tuple(range(2, 2 + len(permutation))))

    assert array.transpose(permutation).transpose(inverse(permutation)).shape == array.shape


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_option_of_another_engine_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} has no option xnnpack"):
        open_tiny(name, options=SessionOptions(xnnpack=False))


@pytest.mark.parametrize("name", ["onnxruntime", "litert"])
def test_precision_that_an_engine_lacks_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} cannot compute in 'bf16'; it can in: fp32, auto"):
        open_tiny(name, options=SessionOptions(inference_precision="bf16"))


def test_openvino_says_what_it_computes_in_when_it_may_choose() -> None:
    with open_tiny("openvino", options=SessionOptions(inference_precision="auto")) as session:
        assert session.inference_precision in ("fp32", "bf16", "fp16")


def test_litert_runs_without_its_delegate_too() -> None:
    inputs = {name: np.ones(SHAPE, np.float32) for name in ("a", "b")}
    with open_tiny("litert", options=SessionOptions(xnnpack=False)) as session:
        assert session.run(inputs)["sum"].mean() == 2


def test_openvino_writes_its_cache_where_it_is_told(tmp_path: Path) -> None:
    with open_tiny("openvino", options=SessionOptions(cache_dir=tmp_path / "cache")):
        pass

    assert any((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 0},
        {"hint": "latncy"},
        {"inference_precision": "f32"},
        {"graph_optimization": "most"},
    ],
    ids=str,
)
def test_option_out_of_its_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        SessionOptions(**options)
