"""Preprocessing fused into every kind of artifact agrees with ``apply`` before the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="needs OpenCV: pip install 'edgekit[vision]'")
ort = pytest.importorskip("onnxruntime", reason="needs pip install 'edgekit[onnxruntime]'")
pytest.importorskip("onnx", reason="needs pip install 'edgekit[convert]'")

from edgekit.converters.emitters import EMITTERS  # noqa: E402
from edgekit.converters.onnx_model import graph_to_bytes  # noqa: E402
from edgekit.graph import Graph, Node  # noqa: E402
from edgekit.preprocess import Preprocess  # noqa: E402
from edgekit.runtimes import RUNTIME_FORMATS, RUNTIMES  # noqa: E402
from edgekit.runtimes.plain import PlainFiles  # noqa: E402
from edgekit.runtimes.usable import why_unusable  # noqa: E402
from edgekit.target import pick_target  # noqa: E402
from edgekit.tensor import DType, Layout, TensorSpec  # noqa: E402

# Engines sum in their own order: 24-bit significands, 27 products of up to 3.
FLOAT32_ATOL = 1e-5
# Half a grey level, which apply rounds and a graph does not, through 9 weights below 1.
GREY_ATOL = 9 * 0.51 / 127.5


def conv_graph(preprocess: Preprocess) -> Graph:
    """Return a 3x3 convolution on a picture of 12 x 16, padded, two channels out."""
    rng = np.random.default_rng(5)
    channels = preprocess.channels
    weight = rng.uniform(-1, 1, (2, channels, 3, 3)).astype(np.float32)
    return Graph(
        name="model",
        nodes=(
            Node(
                "Conv", ("image", "weight"), ("result",), {"pads": (1, 1, 1, 1)}, name="conv",
            ),
        ),
        inputs=(TensorSpec("image", DType.FLOAT32, (1, channels, 12, 16), Layout.NCHW),),
        outputs=(TensorSpec("result", DType.FLOAT32, (1, 2, 12, 16)),),
        initializers={"weight": weight},
        values={},
        opset=18,
    )  # fmt: skip


@dataclass(frozen=True)
class SessionCase:
    id: str
    text: str
    atol: float = FLOAT32_ATOL


SESSION_CASES = [
    SessionCase("rgb", "letterbox,rgb,scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"),
    SessionCase("bgr", "stretch,bgr,mean=127.5,std=127.5"),
    SessionCase("grey", "letterbox-topleft,gray,pad=114,scale=1/127.5,mean=1", GREY_ATOL),
]


def runtime_of(artifact_format: str) -> Any:
    name = next((name for name, own in RUNTIME_FORMATS.items() if own[0] == artifact_format), None)
    if name is None:
        pytest.skip(f"no runtime of this machine runs {artifact_format}")
    if reason := why_unusable(name):
        pytest.skip(f"{name}: {reason}")
    return RUNTIMES[name].load()


@pytest.mark.parametrize("artifact_format", EMITTERS)
@pytest.mark.parametrize("case", SESSION_CASES, ids=lambda case: case.id)
def test_a_frame_gives_the_same_through_the_fused_artifact(
    case: SessionCase, artifact_format: str, tmp_path: Path
) -> None:
    session_class = runtime_of(artifact_format)
    steps = {"image": Preprocess.parse(case.text)}
    graph = conv_graph(steps["image"])
    frame = np.random.default_rng(2).integers(0, 256, (30, 25, 3), np.uint8)
    reference = ort.InferenceSession(graph_to_bytes(graph), providers=["CPUExecutionProvider"])
    ready = steps["image"].apply(frame, graph.inputs[0])
    (expected,) = reference.run(None, {"image": ready})

    artifact = EMITTERS[artifact_format].load()(
        graph, tmp_path, target=pick_target(artifact_format), preprocess=steps
    )

    weights = artifact.files.get("weights")
    files = PlainFiles(tmp_path / artifact.files["model"], weights and tmp_path / weights)
    with session_class.open(artifact, files, preprocess=steps, reason="test") as session:
        result = session.run({"image": frame})["result"]
    assert artifact.fused_preprocess == ("image",)
    np.testing.assert_allclose(result, expected, rtol=0, atol=case.atol)
