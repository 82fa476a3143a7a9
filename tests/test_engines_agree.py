"""OpenVINO, ONNX Runtime and LiteRT compute the same integers, layer by layer, on every network.

Each network is taken apart where all three round (``isolated_layers.py``), every piece starts
from the same integers, and what comes out is compared in steps of its code. The bounds stand
in docs/quantization.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("ai_edge_litert")
pytest.importorskip("openvino")
from fake_quantized import minmax_ranges, open_plain
from isolated_layers import Array, Feed, run_litert, run_onnxruntime, run_pieces, take_apart
from networks.subjects import Subject, all_subjects
from quantize_models import run_openvino

from edgekit.converters.frontends.onnx import load_onnx
from edgekit.converters.passes import simplify
from edgekit.converters.quantize import pick_scheme, prepare_for_integers, quantize, to_qdq
from edgekit.graph import Graph
from edgekit.quantized import QuantizedGraph

SAMPLES = 2
ENGINES = ("ONNX Runtime", "LiteRT", "OpenVINO")
# Weights trained elsewhere for the same networks, and networks without an integer layer.
LEFT_OUT = frozenset(
    {
        *("densenet121_shipped", "inception_v1_shipped", "inception_v2_shipped"),
        *("resnet50_shipped", "shufflenet_shipped", "squeezenet_shipped"),
        *("lstm_with_states", "segnet"),  # OpenVINO's frontend has no MaxUnpool
    }
)


# Several seconds each.
SLOW = frozenset({"densenet121", "resnet50", "inception_v1", "inception_v2", "yunet_n_640_640"})


@dataclass(frozen=True)
class Bound:
    """How far apart two engines may be on any tensor of a network.

    Args:
        near: Least share of all elements that are at most one step apart.
        largest: Largest distance in steps, between any two of the engines.
        why: What makes it larger than usual.
        kernels: ``near`` of ONNX Runtime and LiteRT, which round the same tensors, so that
            only how kernels round is left.
    """

    near: float
    largest: int
    why: str = ""
    kernels: float = 0.999


# One engine rounds a tensor and another fuses it in float: half a step there, one step here.
USUAL = Bound(0.995, 2)
FUSED = "OpenVINO leaves what it fuses into a layer in float; the others round in front of it"
MULTIPLIED = "a batch norm in float multiplies what the others round in front of it by up to 12"
LOGITS = "OpenVINO leaves the last layers' results in float; the others round the box logits"
FLOAT_LAYERS = "LiteRT has no int8 CONV_3D: it computes with the float weights"
POOLED = "ONNX Runtime and OpenVINO round once more between an average pool and a ReLU"
TRANSFORMED = "LiteRT has no integer LayerNormalization or Erf; float there starts elsewhere"
BOUNDS = {
    "densenet121": Bound(0.995, 4, MULTIPLIED),
    "shufflenet": Bound(0.995, 4, POOLED),
    "super_resolution": Bound(0.95, 2, FUSED),
    "style_transfer": Bound(0.97, 3, FUSED),
    "espnet_blocks": Bound(0.995, 45, MULTIPLIED),
    "espnet": Bound(0.995, 45, MULTIPLIED),
    "yolov8": Bound(0.98, 32, LOGITS),
    "c3d": Bound(0.98, 4, FLOAT_LAYERS, kernels=0.98),
    "vit": Bound(0.995, 4, TRANSFORMED),
    "vit_primitive": Bound(0.995, 4, TRANSFORMED),
    "vit_dynamic": Bound(0.995, 4, TRANSFORMED),
    "yolox_nano": Bound(0.99, 4, FUSED),
    "yunet_n_640_640": Bound(0.995, 3, FUSED),
    "fsanet-1x1-iter-688590": Bound(0.985, 3, FUSED),
    "fsanet-var-iter-688590": Bound(0.985, 3, FUSED),
    "ch_ppocr_mobile_v2.0_cls_infer": Bound(0.995, 4, FUSED),
}
SAME_PLACES = ("ONNX Runtime", "LiteRT")


def _subjects() -> list[object]:
    return [
        pytest.param(
            subject,
            id=subject.name,
            marks=[pytest.mark.slow] if subject.size == "large" or subject.name in SLOW else [],
        )
        for subject in all_subjects()
        if subject.name not in LEFT_OUT
    ]


@dataclass(frozen=True)
class Calibrated:
    """A network with min-max ranges of its own inputs."""

    graph: Graph
    feeds: list[Feed]
    quantized: QuantizedGraph


def _calibrated(subject: Subject, folder: Path, *, samples: int = 2) -> Calibrated:
    path = subject.write(folder)
    graph = prepare_for_integers(simplify(load_onnx(path, shapes=subject.shapes or None)))
    model = onnx.load(path, load_external_data=False)
    feeds: list[Feed] = [subject.inputs(model, seed=seed) for seed in range(samples)]
    quantized = quantize(graph, minmax_ranges(graph, feeds), pick_scheme("tflite"))
    return Calibrated(graph, feeds, quantized)


@pytest.mark.parametrize("subject", _subjects())
def test_engines_compute_the_same_integers_layer_by_layer(subject: Subject, tmp_path: Path) -> None:
    bound = BOUNDS.get(subject.name, USUAL)
    known = _calibrated(subject, tmp_path)
    pieces = take_apart(known.quantized)

    found = run_pieces(pieces, pieces.feed(known.graph, known.feeds[0]), tmp_path)

    assert pieces.compared
    for one, other in combinations(ENGINES, 2):
        distances = [np.abs(found[one][name] - found[other][name]) for name in pieces.compared]
        flat = np.concatenate([each.ravel() for each in distances])
        near = bound.kernels if (one, other) == SAME_PLACES else bound.near
        assert flat.max() <= bound.largest, (one, other)
        assert np.mean(flat <= 1) >= near, (one, other)


# Of whole trained networks: least share of the outputs within four steps, largest distance.
# Measured, with room for processors that sum in another order.
ENDS = {
    "yolox_nano": (0.92, 270),
    "mobileface_v2": (0.55, 20),
    "version-RFB-320_without_postprocessing": (0.995, 12),
    "yunet_n_dynamic": (0.97, 14),
    "ch_ppocr_mobile_v2.0_cls_infer": (0.0, 15),
    "fsanet-1x1-iter-688590": (0.0, 110),
    "fsanet-var-iter-688590": (0.0, 45),
}


@pytest.mark.parametrize("name", ENDS)
def test_whole_trained_networks_end_near_each_other(name: str, tmp_path: Path) -> None:
    subject = next((each for each in all_subjects() if each.name == name), None)
    if subject is None:
        pytest.skip("the trained model is not beside the repository")
    known = _calibrated(subject, tmp_path, samples=8)
    quantized, feed = known.quantized, known.feeds[0]
    runs: list[list[Array]] = [
        list(run_openvino(to_qdq(quantized, pick_scheme("openvino")), feed, tmp_path)),
        run_onnxruntime(to_qdq(quantized, pick_scheme("onnx")), feed),
        run_litert(quantized, feed, tmp_path / "whole.tflite"),
    ]
    steps = _steps(known)

    share, largest = ENDS[name]
    for one, other in combinations(runs, 2):
        pairs = zip(one, other, steps, strict=True)
        flat = np.concatenate([(np.abs(a - b) / step).ravel() for a, b, step in pairs])
        # Half a step more: OpenVINO does not round what leaves.
        assert np.mean(flat <= 4.5) >= share
        assert flat.max() <= largest


def _steps(known: Calibrated) -> list[float]:
    """Return one step of every output: its code's, else a 255th of what it spans in float."""
    names = list(known.graph.output_names)
    values = open_plain(known.graph).run(names, dict(known.feeds[0]))
    codes = known.quantized.codes
    return [
        codes[name].quantization.scale[0] if name in codes else float(np.ptp(value)) / 255
        for name, value in zip(names, values, strict=True)
    ]
