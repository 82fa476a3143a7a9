"""ESPNet, written from its paper, is the network that its authors trained."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from networks.torch_file import read_state_dict

onnx = pytest.importorskip("onnx", reason="needs pip install 'edgekit[convert]'")
ort = pytest.importorskip("onnxruntime", reason="needs pip install 'edgekit[onnxruntime]'")
cv2 = pytest.importorskip("cv2", reason="needs OpenCV: pip install 'edgekit[vision]'")

from networks.espnet import PREPROCESS, WEIGHTS, trained_espnet  # noqa: E402
from networks.torch_file import MAGIC  # noqa: E402

from edgekit.metrics.segmentation import MeanIoU  # noqa: E402
from edgekit.preprocess import Preprocess  # noqa: E402
from edgekit.tensor import TensorSpec  # noqa: E402

CAMVID = WEIGHTS.parents[1] / "data-camvid"
VOID = 11

needs_weights = pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"no weights at {WEIGHTS}")


@needs_weights
def test_the_trained_parameters_all_have_a_place_in_the_network() -> None:
    stored = read_state_dict(WEIGHTS)
    used = {t.name.rpartition("_")[0] for t in trained_espnet().graph.initializer}

    count = sum(int(np.prod(t.dims)) for t in trained_espnet().graph.initializer)

    wanted = sum(v.size for n, v in stored.items() if not n.endswith("num_batches_tracked"))
    assert used == {"weight", "slope", "bias", "running_mean", "running_var"}
    assert count == wanted


@needs_weights
@pytest.mark.skipif(not CAMVID.is_dir(), reason=f"no CamVid pictures in {CAMVID}")
def test_its_mean_iou_on_camvid_is_the_published_one() -> None:
    session = ort.InferenceSession(
        trained_espnet().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    preprocess = Preprocess.parse(PREPROCESS)
    spec = TensorSpec("image", preprocess.dtype, (1, 3, 360, 480))
    metric = MeanIoU(uncounted=(VOID,))

    for path in sorted((CAMVID / "test").glob("*.jpg"))[::8]:
        (scores,) = session.run(None, {"image": preprocess.apply(cv2.imread(str(path)), spec)})
        mask = cv2.imread(str(CAMVID / "testannot" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
        metric.add(scores, [mask])

    # Published 55.64 on all 233 PNG pictures, measured 55.5 on all of these JPEGs; 30 of them
    # give more or less, by about 3 points.
    assert metric.value() == pytest.approx(0.555, abs=0.04)


def test_a_file_that_asks_for_code_is_refused(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return eval, ("1 + 1",)

    path = tmp_path / "hostile.pth"
    parts = (MAGIC, 1001, {"little_endian": True}, {"weight": Hostile()})
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in parts))

    with pytest.raises(pickle.UnpicklingError, match="eval has no place"):
        read_state_dict(path)
