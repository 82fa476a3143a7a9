"""The reference implementation against formulas written out by hand."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from edgekit.errors import InputError, MissingDependencyError
from edgekit.preprocess import Preprocess
from edgekit.quantization import Quantization
from edgekit.tensor import DType, Layout, TensorSpec

pytest.importorskip("cv2", reason="needs OpenCV: pip install 'edgekit[vision]'")

FLOAT32_ATOL = 1e-6  # 24-bit significand, values up to 3


def make_frame(height: int, width: int, channels: int = 3, *, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def image_spec(*shape: int | str, dtype: DType = DType.FLOAT32) -> TensorSpec:
    return TensorSpec("image", dtype, shape)


def test_result_is_scale_then_mean_then_std_per_channel_in_the_models_order() -> None:
    frame = make_frame(4, 6)
    preprocess = Preprocess(
        resize="none", scale=(1 / 255,), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )

    result = preprocess.apply(frame, image_spec(1, 3, 4, 6))

    rgb = frame[:, :, ::-1].astype(np.float64)
    expected = (rgb / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(result[0], expected.transpose(2, 0, 1), atol=FLOAT32_ATOL)


@dataclass(frozen=True)
class ColourCase:
    id: str
    frame_colour: str
    colour: str
    expected: list[int]


# Grey is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601): 0.299*30 + 0.587*20 + 0.114*10 = 21.85.
COLOUR_CASES = [
    ColourCase("bgr_to_bgr", "BGR", "BGR", [10, 20, 30]),
    ColourCase("bgr_to_rgb", "BGR", "RGB", [30, 20, 10]),
    ColourCase("rgb_to_bgr", "RGB", "BGR", [30, 20, 10]),
    ColourCase("bgr_to_grey", "BGR", "GRAY", [22]),
    ColourCase("grey_to_rgb", "GRAY", "RGB", [10, 10, 10]),
    ColourCase("grey_to_grey", "GRAY", "GRAY", [10]),
]


@pytest.mark.parametrize("layout", [Layout.NCHW, Layout.NHWC])
@pytest.mark.parametrize("case", COLOUR_CASES, ids=lambda case: case.id)
def test_colours_arrive_in_the_models_order(case: ColourCase, layout: Layout) -> None:
    frame = np.empty((2, 3, 3), np.uint8)
    frame[...] = [10, 20, 30]
    preprocess = Preprocess(
        resize="none", frame_colour=case.frame_colour, colour=case.colour, layout=layout
    )
    channels = len(case.expected)
    is_planar = layout is Layout.NCHW
    spec = image_spec(1, channels, 2, 3) if is_planar else image_spec(1, 2, 3, channels)

    result = preprocess.apply(frame[:, :, : preprocess.frame_channels], spec)

    interleaved = result[0].transpose(1, 2, 0) if is_planar else result[0]
    assert interleaved.tolist() == [[case.expected] * 3] * 2


@dataclass(frozen=True)
class DTypeCase:
    id: str
    dtype: DType
    mean: float
    std: float
    quantization: Quantization | None
    expected: list[float]


DTYPE_CASES = [
    DTypeCase("float32", DType.FLOAT32, 100, 2, None, [-50, 0, 77.5]),
    DTypeCase("float16", DType.FLOAT16, 100, 2, None, [-50, 0, 77.5]),
    DTypeCase("uint8_saturates_at_0", DType.UINT8, 100, 1, None, [0, 0, 155]),
    DTypeCase("int8_without_code_shifts", DType.INT8, 128, 1, None, [-128, -28, 127]),
    # (255 - 127.5) / 127.5 = 1 -> 1 / (1/128) + 128 = 256, saturated to 255.
    DTypeCase("uint8_code", DType.UINT8, 127.5, 127.5, Quantization((1 / 128,), (128,)),
              [0, 100, 255]),
]  # fmt: skip


@pytest.mark.parametrize("case", DTYPE_CASES, ids=lambda case: case.id)
@pytest.mark.parametrize("layout", [Layout.NCHW, Layout.NHWC])
def test_each_dtype_holds_the_formulas_value(case: DTypeCase, layout: Layout) -> None:
    frame = np.array([[[0], [100], [255]]], np.uint8)
    preprocess = Preprocess(
        resize="none",
        colour="GRAY",
        frame_colour="GRAY",
        mean=(case.mean,),
        std=(case.std,),
        dtype=case.dtype,
        quantization=case.quantization,
        layout=layout,
    )
    spec = image_spec(*((1, 1, 1, 3) if layout is Layout.NCHW else (1, 1, 3, 1)), dtype=case.dtype)

    result = preprocess.apply(frame, spec)

    assert result.dtype == case.dtype.to_numpy()
    assert result.ravel().tolist() == case.expected


def test_letterbox_pads_evenly_with_the_pad_value() -> None:
    frame = np.full((10, 20, 3), 200, np.uint8)
    preprocess = Preprocess(resize="letterbox", pad_value=114)

    result = preprocess.apply(frame, image_spec(1, 3, 40, 40))[0, 0]

    assert (result[:10] == 114).all()
    assert (result[10:30] == 200).all()
    assert (result[30:] == 114).all()


def test_letterbox_topleft_pads_below_and_right_only() -> None:
    frame = np.full((20, 10, 3), 200, np.uint8)
    preprocess = Preprocess(resize="letterbox-topleft", pad_value=114)

    result = preprocess.apply(frame, image_spec(1, 3, 40, 40))[0, 0]

    assert (result[:, :20] == 200).all()
    assert (result[:, 20:] == 114).all()


def test_center_crop_cuts_the_central_fraction_of_each_side() -> None:
    frame = make_frame(16, 32)
    preprocess = Preprocess(resize="center-crop", crop_fraction=0.5, colour="BGR")

    result = preprocess.apply(frame, image_spec(1, 3, 8, 16))

    np.testing.assert_array_equal(result[0].transpose(1, 2, 0), frame[4:12, 8:24])


def test_shortest_side_cuts_the_centre_at_the_frames_own_scale() -> None:
    frame = make_frame(16, 40)
    preprocess = Preprocess(resize="shortest-side", crop_fraction=0.5, colour="BGR")

    result = preprocess.apply(frame, image_spec(1, 3, 8, 8))

    np.testing.assert_array_equal(result[0].transpose(1, 2, 0), frame[4:12, 16:24])


def test_nearest_enlargement_repeats_pixels() -> None:
    frame = make_frame(2, 2)
    preprocess = Preprocess(interpolation="nearest", colour="BGR")

    result = preprocess.apply(frame, image_spec(1, 3, 4, 4))

    expected = frame.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(result[0].transpose(1, 2, 0), expected)


def test_fit_leaves_colour_and_values_alone() -> None:
    frame = make_frame(8, 8)
    preprocess = Preprocess(resize="letterbox", scale=(1 / 255,))

    result = preprocess.fit(frame, image_spec(1, 3, 8, 12))

    assert (result.dtype, result.shape) == (np.uint8, (1, 8, 12, 3))
    np.testing.assert_array_equal(result[0, :, 2:10], frame)


def test_dynamic_sizes_take_the_frames_where_nothing_is_resized() -> None:
    preprocess = Preprocess(resize="none")

    result = preprocess.apply(make_frame(5, 7), image_spec("batch", 3, "height", "width"))

    assert result.shape == (1, 3, 5, 7)


def test_a_view_of_a_larger_frame_gives_the_same_as_its_copy() -> None:
    view = make_frame(20, 20)[3:15, 2:18]
    preprocess = Preprocess(resize="letterbox")
    spec = image_spec(1, 3, 9, 9)

    result = preprocess.apply(view, spec)

    np.testing.assert_array_equal(result, preprocess.apply(view.copy(), spec))


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.FLOAT16, DType.UINT8])
@pytest.mark.parametrize("layout", [Layout.NCHW, Layout.NHWC])
def test_a_given_buffer_is_written_and_returned(layout: Layout, dtype: DType) -> None:
    preprocess = Preprocess(layout=layout, dtype=dtype)
    shape = (1, 3, 8, 8) if layout is Layout.NCHW else (1, 8, 8, 3)
    buffer = np.zeros(shape, dtype.to_numpy())
    frame = make_frame(16, 16)

    result = preprocess.apply(frame, image_spec(*shape, dtype=dtype), out=buffer)

    assert result is buffer
    np.testing.assert_array_equal(buffer, preprocess.apply(frame, image_spec(*shape, dtype=dtype)))


@dataclass(frozen=True)
class RefusedCase:
    id: str
    frame: Any
    shape: tuple[int | str, ...]
    words: tuple[str, ...]
    preprocess: Preprocess = field(default_factory=Preprocess)


REFUSED_CASES = [
    RefusedCase("float_frame", np.zeros((4, 4, 3)), (1, 3, 4, 4), ("float64", "uint8")),
    RefusedCase("no_array", [[1]], (1, 3, 4, 4), ("list", "uint8")),
    RefusedCase("grey_frame", make_frame(4, 4, 1), (1, 3, 4, 4), ("(4, 4, 1)", "BGR", "3")),
    RefusedCase("empty_frame", make_frame(0, 4), (1, 3, 4, 4), ("(0, 4, 3)", "empty")),
    RefusedCase("rank", make_frame(4, 4), (3, 4, 4), ("'image'", "(3, 4, 4)")),
    RefusedCase("channels", make_frame(4, 4), (1, 1, 4, 4), ("'image'", "1 channels", "3")),
    RefusedCase("channels_last", make_frame(4, 4), (1, 4, 4, 3), ("4 channels", "NCHW")),
    RefusedCase("batch", make_frame(4, 4), (8, 3, 4, 4), ("batch of 8", "--shape")),
    RefusedCase("dynamic", make_frame(4, 4), (1, 3, "h", "w"), ("stretch", "resize=none")),
    RefusedCase(
        "size", make_frame(4, 5), (1, 3, 4, 4), ("(4, 5)", "width 4"), Preprocess(resize="none")
    ),
    RefusedCase(
        "dtype", make_frame(4, 4), (1, 3, 4, 4), ("float32", "uint8"), Preprocess(dtype=DType.UINT8)
    ),
    RefusedCase(
        "thin_frame", make_frame(1, 30000), (1, 3, 224, 224), ("resized", "crop it first"),
        Preprocess(resize="shortest-side"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_CASES, ids=lambda case: case.id)
def test_what_cannot_fit_is_refused_with_its_values(case: RefusedCase) -> None:
    with pytest.raises(InputError) as caught:
        case.preprocess.apply(case.frame, image_spec(*case.shape))

    for word in case.words:
        assert word in str(caught.value)


def test_a_frame_over_the_limit_is_refused_before_it_is_touched() -> None:
    huge = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (20_000, 20_000, 3))

    with pytest.raises(InputError, match="20000x20000 is over 100000000 pixels"):
        Preprocess().apply(huge, image_spec(1, 3, 8, 8))


def test_a_wrong_buffer_is_refused_with_what_is_needed() -> None:
    buffer = np.zeros((1, 3, 8, 8))

    with pytest.raises(InputError, match=r"float64 .*float32 \(1, 3, 8, 8\) is needed"):
        Preprocess().apply(make_frame(8, 8), image_spec(1, 3, 8, 8), out=buffer)


def test_without_opencv_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)

    with pytest.raises(MissingDependencyError, match=r"pip install 'edgekit\[vision\]'"):
        Preprocess().apply(make_frame(8, 8), image_spec(1, 3, 8, 8))
