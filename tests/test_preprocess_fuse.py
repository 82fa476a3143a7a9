"""Fused and unfused preprocessing, both run by ONNX Runtime, agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from edgekit.errors import InputError, ModelError, UsageError
from edgekit.graph import Graph, Node
from edgekit.preprocess import Preprocess
from edgekit.quantization import Quantization
from edgekit.tensor import DType, Layout, TensorSpec

pytest.importorskip("cv2", reason="needs OpenCV: pip install 'edgekit[vision]'")
ort = pytest.importorskip("onnxruntime", reason="needs pip install 'edgekit[onnxruntime]'")
pytest.importorskip("onnx", reason="needs pip install 'edgekit[convert]'")

from edgekit.converters.onnx_model import graph_to_bytes  # noqa: E402
from edgekit.converters.passes.fuse_preprocess import (  # noqa: E402
    RESIZE_LEVELS,
    fuse_preprocess,
)

IMAGENET = {"scale": (1 / 255,), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
IMAGENET_SLOPE = 1 / 255 / 0.224  # what one grey level becomes, at most
FLOAT32_LEVELS = 1e-4  # 24-bit significand, values up to 255, a few roundings
GREY_LEVELS = 0.5  # apply rounds grey to a whole level; the 14-bit weights add 255 / 2**14


def make_frame(height: int, width: int, *, channels: int = 3) -> Any:
    """Return smooth shapes under noise: as sharp as a picture, not sharper."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (5 + i)) * np.cos(y / (9 - i)) for i in range(channels)]
    noise = rng.normal(0, 20, (height, width, channels))
    return np.clip(128 + 100 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def identity_graph(shape: tuple[int | str, ...], dtype: DType) -> Graph:
    return Graph(
        name="model",
        nodes=(Node("Identity", ("image",), ("result",), name="copy"),),
        inputs=(TensorSpec("image", dtype, shape),),
        outputs=(TensorSpec("result", dtype, shape),),
        initializers={},
        values={},
        opset=18,
    )


def run(graph: Graph, frame: Any) -> Any:
    session = ort.InferenceSession(graph_to_bytes(graph), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": frame})[0]


@dataclass(frozen=True)
class FuseCase:
    id: str
    preprocess: Preprocess
    atol: float
    op_types: str
    input_hw: tuple[int, int] = (24, 32)
    frame_hw: tuple[int, int] | None = None
    shape: tuple[int | str, ...] = field(default=())


FUSE_CASES = [
    FuseCase("swap_and_affine", Preprocess(**IMAGENET), FLOAT32_LEVELS * IMAGENET_SLOPE,
             "Cast Transpose Conv"),
    FuseCase("affine", Preprocess(colour="BGR", **IMAGENET), FLOAT32_LEVELS * IMAGENET_SLOPE,
             "Cast Transpose Mul Add"),
    FuseCase("factor", Preprocess(colour="BGR", scale=(1 / 255,)), FLOAT32_LEVELS / 255,
             "Cast Transpose Mul"),
    FuseCase("nothing_but_layout", Preprocess(colour="BGR"), 0, "Cast Transpose"),
    FuseCase("bytes", Preprocess(colour="BGR", dtype=DType.UINT8), 0, "Transpose"),
    FuseCase("bytes_nhwc", Preprocess(colour="BGR", dtype=DType.UINT8, layout=Layout.NHWC), 0, ""),
    FuseCase("swapped_bytes", Preprocess(dtype=DType.UINT8), 0,
             "Cast Transpose Conv Round Clip Cast"),
    FuseCase("nhwc", Preprocess(colour="BGR", layout=Layout.NHWC, **IMAGENET),
             FLOAT32_LEVELS * IMAGENET_SLOPE, "Cast Mul Add"),
    FuseCase("nhwc_swap", Preprocess(layout=Layout.NHWC), 0, "Cast Transpose Conv Transpose"),
    FuseCase("grey", Preprocess(colour="GRAY", scale=(1 / 127.5,), mean=(1.0,)),
             (GREY_LEVELS + 255 / 2**14) / 127.5, "Cast Transpose Conv"),
    FuseCase("grey_frames", Preprocess(frame_colour="GRAY"), 0, "Cast Transpose Conv"),
    FuseCase("grey_to_grey", Preprocess(frame_colour="GRAY", colour="GRAY", mean=(3.0,)), 0,
             "Cast Transpose Add"),
    FuseCase("float16", Preprocess(colour="BGR", dtype=DType.FLOAT16, scale=(0.5,)), 0,
             "Cast Transpose Mul Cast"),
    FuseCase("int8", Preprocess(colour="BGR", dtype=DType.INT8, mean=(128.0,)), 0,
             "Cast Transpose Add Round Clip Cast"),
    FuseCase("uint8_code", Preprocess(colour="BGR", dtype=DType.UINT8, scale=(1 / 128,),
             mean=(1.0,), quantization=Quantization((1 / 64,), (100,))), 1,
             "Cast Transpose Mul Add Round Clip Cast"),
    FuseCase("dynamic", Preprocess(colour="BGR", resize="none"), 0, "Cast Transpose",
             shape=("batch", 3, "height", "width")),
    FuseCase("enlarged", Preprocess(colour="BGR"), RESIZE_LEVELS, "Cast Transpose Resize",
             frame_hw=(11, 19)),
    FuseCase("shrunk", Preprocess(**IMAGENET), RESIZE_LEVELS * IMAGENET_SLOPE,
             "Cast Transpose Resize Conv", frame_hw=(90, 77)),
    FuseCase("shrunk_nhwc", Preprocess(colour="BGR", layout=Layout.NHWC), RESIZE_LEVELS,
             "Cast Transpose Resize Transpose", frame_hw=(90, 77)),
    FuseCase("shrunk_dynamic_batch", Preprocess(colour="BGR"), RESIZE_LEVELS,
             "Cast Transpose Resize", frame_hw=(90, 77), shape=("batch", 3, 24, 32)),
    FuseCase("shrunk_bytes", Preprocess(colour="BGR", dtype=DType.UINT8), 1,
             "Cast Transpose Resize Round Clip Cast", frame_hw=(90, 77)),
    FuseCase("same_size", Preprocess(colour="BGR"), 0, "Cast Transpose", frame_hw=(24, 32)),
    FuseCase("same_size_nhwc", Preprocess(colour="BGR", layout=Layout.NHWC), 0, "Cast",
             frame_hw=(24, 32)),
    FuseCase("nearest", Preprocess(colour="BGR", interpolation="nearest"), 0,
             "Cast Transpose Gather Gather", frame_hw=(720, 1280)),
    FuseCase("cubic", Preprocess(colour="BGR", interpolation="cubic"), RESIZE_LEVELS,
             "Cast Transpose Resize Clip", frame_hw=(40, 50)),
    FuseCase("letterbox", Preprocess(resize="letterbox", pad_value=114, **IMAGENET),
             RESIZE_LEVELS * IMAGENET_SLOPE, "Cast Transpose Resize Pad Conv", frame_hw=(90, 77)),
    FuseCase("letterbox_topleft", Preprocess(resize="letterbox-topleft", pad_value=114),
             RESIZE_LEVELS, "Cast Transpose Resize Pad Conv", frame_hw=(30, 90)),
    FuseCase("letterbox_without_scaling", Preprocess(resize="letterbox", colour="BGR"), 0,
             "Cast Transpose Pad", frame_hw=(24, 20)),
    FuseCase("center_crop", Preprocess(resize="center-crop", crop_fraction=0.5, colour="BGR"),
             RESIZE_LEVELS, "Cast Transpose Slice Resize", frame_hw=(80, 90)),
    FuseCase("crop_of_the_inputs_size", Preprocess(resize="center-crop", crop_fraction=0.5,
             colour="BGR", layout=Layout.NHWC), 0, "Cast Transpose Slice Transpose",
             frame_hw=(48, 64)),
    FuseCase("crop_of_a_frame_of_the_inputs_size", Preprocess(resize="shortest-side",
             crop_fraction=0.5, colour="BGR", layout=Layout.NHWC), RESIZE_LEVELS,
             "Cast Transpose Resize Slice Transpose", frame_hw=(24, 32)),
    FuseCase("shortest_side", Preprocess(resize="shortest-side", crop_fraction=0.8, colour="BGR"),
             RESIZE_LEVELS, "Cast Transpose Resize Slice", frame_hw=(80, 90)),
]  # fmt: skip


@pytest.mark.parametrize("case", FUSE_CASES, ids=lambda case: case.id)
def test_the_fused_graph_agrees_with_apply_before_the_graph(case: FuseCase) -> None:
    preprocess = case.preprocess
    is_planar = preprocess.layout is Layout.NCHW
    planar, packed = (1, preprocess.channels, *case.input_hw), (1, *case.input_hw, 3)
    graph = identity_graph(case.shape or (planar if is_planar else packed), preprocess.dtype)
    frame = make_frame(*(case.frame_hw or case.input_hw), channels=preprocess.frame_channels)
    expected = run(graph, preprocess.apply(frame, graph.inputs[0]))

    fused = fuse_preprocess(
        graph,
        {"image": preprocess},
        frame_shapes=None if case.frame_hw is None else {"image": case.frame_hw},
    )

    result = run(fused, frame[None])
    assert " ".join(node.op_type for node in fused.nodes[:-1]) == case.op_types
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(
        result.astype(np.float64), expected.astype(np.float64), rtol=0, atol=case.atol
    )


def test_the_fused_input_is_a_uint8_frame_under_the_same_name() -> None:
    graph = identity_graph((1, 3, 24, 32), DType.FLOAT32)

    fused = fuse_preprocess(graph, {"image": Preprocess()})

    assert fused.inputs == (TensorSpec("image", DType.UINT8, (1, 24, 32, 3), layout=Layout.NHWC),)
    assert fused.outputs == graph.outputs


def test_every_new_tensor_has_its_inferred_shape() -> None:
    graph = identity_graph((1, 3, 24, 32), DType.FLOAT32)
    preprocess = Preprocess(resize="letterbox", **IMAGENET)

    fused = fuse_preprocess(graph, {"image": preprocess}, frame_shapes={"image": (60, 60)})

    shapes = [fused.values[node.outputs[0]].shape for node in fused.nodes[:-1]]
    assert shapes == [
        (1, 60, 60, 3), (1, 3, 60, 60), (1, 3, 24, 24), (1, 3, 24, 32), (1, 3, 24, 32),
    ]  # fmt: skip


def test_a_name_that_is_no_input_is_refused_with_the_choices() -> None:
    graph = identity_graph((1, 3, 8, 8), DType.FLOAT32)

    with pytest.raises(UsageError, match="no input named 'imag'; did you mean 'image'"):
        fuse_preprocess(graph, {"imag": Preprocess()})


def test_a_frame_size_without_preprocessing_is_refused() -> None:
    graph = identity_graph((1, 3, 8, 8), DType.FLOAT32)

    with pytest.raises(UsageError, match="'image' has a frame size but no preprocessing"):
        fuse_preprocess(graph, {}, frame_shapes={"image": (8, 8)})


def test_area_interpolation_is_refused_with_what_can_be_fused() -> None:
    graph = identity_graph((1, 3, 8, 8), DType.FLOAT32)
    preprocess = Preprocess(interpolation="area")

    with pytest.raises(UsageError, match=r"'area' cannot be fused.*linear, nearest or cubic"):
        fuse_preprocess(graph, {"image": preprocess}, frame_shapes={"image": (9, 9)})


def test_an_input_that_is_no_picture_is_refused() -> None:
    graph = identity_graph((1, 40), DType.FLOAT32)

    with pytest.raises(InputError, match=r"'image' has shape \(1, 40\)"):
        fuse_preprocess(graph, {"image": Preprocess()})


def test_an_input_that_is_also_an_output_is_refused() -> None:
    spec = TensorSpec("image", DType.FLOAT32, (1, 3, 8, 8))
    graph = Graph("model", (), (spec,), (spec,), {}, {}, opset=18)

    with pytest.raises(ModelError, match="'image' is also an output"):
        fuse_preprocess(graph, {"image": Preprocess()})


def test_an_input_that_a_control_flow_body_reads_is_refused() -> None:
    outer = identity_graph((1, 3, 8, 8), DType.FLOAT32)
    body = Graph(
        "body", (Node("Identity", ("image",), ("inner",), name="n"),), (),
        (TensorSpec("inner", DType.FLOAT32, (1, 3, 8, 8)),), {}, {}, opset=18,
    )  # fmt: skip
    branches = {"then_branch": body, "else_branch": body}
    graph = outer.with_nodes([Node("If", ("flag",), ("result",), branches, name="choose")])

    with pytest.raises(ModelError, match=r"body of node 'choose' \(If\) reads input 'image'"):
        fuse_preprocess(graph, {"image": Preprocess()})
