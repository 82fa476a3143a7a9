"""The pictures that a benchmark calibrates with are none of those that it judges on."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime", reason="needs pip install 'edgekit[onnxruntime]'")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from networks.builder import NetBuilder

from benchmarks import picture_networks
from benchmarks.picture_networks import PictureNetwork, read_pictures


def grey_mean_network(folder: Path) -> Path:
    net = NetBuilder("grey_mean")
    x = net.input("image", [1, 3, 4, 4])
    net.output(net.op("GlobalAveragePool", net.op("Relu", x)), "mean", shape=[1, 3, 1, 1])
    onnx.save(net.model(), folder / "grey_mean.onnx")
    return folder / "grey_mean.onnx"


@pytest.fixture
def ten_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pictures").mkdir()
    for level in range(10):
        picture = np.full((4, 4, 3), 20 * level, np.uint8)
        cv2.imwrite(str(tmp_path / "pictures" / f"{level}.png"), picture)
    how = PictureNetwork(grey_mean_network, "pictures", "rgb", lambda path: int(path.stem))
    monkeypatch.setattr(picture_networks, "REAL_FOLDER", tmp_path)
    monkeypatch.setattr(picture_networks, "PICTURE_NETWORKS", {"grey_mean": how})
    return tmp_path


def test_all_pictures_calibrate_or_judge_and_none_does_both(ten_pictures: Path) -> None:
    source = read_pictures("grey_mean", ten_pictures, 3)

    levels = [float(np.max(feed["image"])) for feed in [*source.samples, *source.others]]
    assert len(source.samples) == 3
    assert sorted(levels) == [20.0 * level for level in range(10)]


def test_a_picture_keeps_its_class(ten_pictures: Path) -> None:
    source = read_pictures("grey_mean", ten_pictures, 3)

    levels = [float(np.max(feed["image"])) / 20 for feed in source.others]
    assert source.labels == tuple(map(int, levels))


def test_at_most_half_of_a_small_set_calibrates(ten_pictures: Path) -> None:
    source = read_pictures("grey_mean", ten_pictures, 32)

    assert (len(source.samples), len(source.others)) == (5, 5)
