"""EfficientNet-Lite0, written from its table, takes the weights that its authors trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs pip install 'edgekit[convert]'")
ort = pytest.importorskip("onnxruntime", reason="needs pip install 'edgekit[onnxruntime]'")
cv2 = pytest.importorskip("cv2", reason="needs OpenCV: pip install 'edgekit[vision]'")

from networks import REAL_FOLDER  # noqa: E402
from networks.efficientnet import (  # noqa: E402
    PREPROCESS,
    VARIABLE,
    efficientnet_lite0,
    trained_efficientnet_lite0,
    weights_file,
)
from networks.torch_file import read_state_dict  # noqa: E402

from edgekit.preprocess import Preprocess  # noqa: E402
from edgekit.tensor import TensorSpec  # noqa: E402

PICTURES = REAL_FOLDER / "data-imagenet-samples"
WEIGHTS = weights_file()

needs_weights = pytest.mark.skipif(WEIGHTS is None, reason=f"{VARIABLE} names no file of weights")


def parameter_count(model: onnx.ModelProto) -> int:
    return sum(
        int(np.prod(tensor.dims)) for tensor in model.graph.initializer if len(tensor.dims) > 0
    )


def test_it_has_as_many_parameters_as_published() -> None:
    model = efficientnet_lite0()

    # 4.65 M of the TensorFlow TPU repository, and each batch norm's running mean and variance.
    assert parameter_count(model) == pytest.approx(4.65e6, rel=0.02)


@needs_weights
def test_the_trained_parameters_all_have_a_place_in_the_network() -> None:
    assert WEIGHTS is not None
    stored = read_state_dict(WEIGHTS)

    model = trained_efficientnet_lite0(WEIGHTS)

    wanted = sum(v.size for n, v in stored.items() if not n.endswith("num_batches_tracked"))
    assert parameter_count(model) == wanted


@needs_weights
@pytest.mark.skipif(not PICTURES.is_dir(), reason=f"no pictures in {PICTURES}")
def test_with_trained_weights_it_names_most_pictures_right() -> None:
    assert WEIGHTS is not None
    session = ort.InferenceSession(
        trained_efficientnet_lite0(Path(WEIGHTS)).SerializeToString(),
        providers=["CPUExecutionProvider"],
    )
    steps = Preprocess.parse(PREPROCESS)
    spec = TensorSpec("image", steps.dtype, (1, 3, 224, 224))
    paths = sorted(PICTURES.glob("*.jpg"))[::4]

    right = 0
    for path in paths:
        (scores,) = session.run(None, {"image": steps.apply(cv2.imread(str(path)), spec)})
        # A picture's name starts with its class.
        right += int(scores.argmax()) == int(path.name[:4])

    # Published: 75.1 % of the validation set; these pictures are of the training set.
    assert right / len(paths) > 0.7
