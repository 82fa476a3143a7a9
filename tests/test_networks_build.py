"""The networks of the conversion table are worth converting: valid, alive and repeatable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from networks import NETWORKS, NetworkCase, graph_inputs, real_models, sample_inputs
from networks.subjects import Subject, all_subjects
from numpy.typing import NDArray

SMALL = [case for case in NETWORKS.values() if case.size == "small"]
ALIVE = [case for case in SMALL if not case.constant]
SHIPPED = [case for case in NETWORKS.values() if case.constant]
TRAINED_MODELS = [subject for subject in all_subjects() if subject.family == "trained"]
# Two inputs must part by far more than the 1e-5 that conversions are allowed.
SMALLEST_DIFFERENCE = 1e-2
# What the issue's table names, as titles of the cases that stand for it.
REQUIRED = {
    "alexnet vgg19 inception_v1 inception_v2 resnet50 densenet121 squeezenet shufflenet zfnet512",
    "mobilenet_v2 mlp text_cnn lstm bilstm gru bigru fcn segnet unet_linear yolov8 c3d vit",
}


@dataclass(frozen=True)
class Network:
    case: NetworkCase
    model: onnx.ModelProto


def run(network: Network, *, seed: int) -> dict[str, NDArray[np.generic]]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        network.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = sample_inputs(network.model, seed=seed, highest=network.case.highest)
    outputs = session.run(None, feed)
    return dict(zip((output.name for output in session.get_outputs()), outputs, strict=True))


@pytest.fixture(scope="module", params=ALIVE, ids=lambda case: case.name)
def network(request: pytest.FixtureRequest) -> Network:
    """Return one network, built once for all tests of it."""
    return Network(request.param, request.param.build())


def test_network_is_valid_onnx(network: Network) -> None:
    onnx.checker.check_model(network.model, full_check=True)

    assert graph_inputs(network.model)


def test_outputs_are_finite_and_follow_the_input(network: Network) -> None:
    first, second = run(network, seed=2), run(network, seed=3)

    for name, values in first.items():
        assert np.isfinite(values).all(), name
        assert np.std(values) > 0, name
        difference = np.abs(values - second[name]).max() / np.abs(values).max()
        assert difference > SMALLEST_DIFFERENCE, name


def test_network_is_the_same_at_every_build(network: Network) -> None:
    again = network.case.build()

    assert again.SerializeToString(deterministic=True) == network.model.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("case", SHIPPED, ids=lambda case: case.name)
def test_shipped_network_is_valid_onnx(case: NetworkCase) -> None:
    onnx.checker.check_model(case.build(), full_check=True)


def test_every_network_of_the_issue_is_in_the_table() -> None:
    assert set(" ".join(REQUIRED).split()) <= set(NETWORKS)


def test_real_models_are_none_where_there_is_no_folder(tmp_path: Path) -> None:
    assert real_models(tmp_path / "absent") == {}


@pytest.mark.skipif(not TRAINED_MODELS, reason="no trained models beside the repository")
@pytest.mark.parametrize("subject", TRAINED_MODELS, ids=lambda subject: subject.name)
def test_trained_model_takes_a_picture(subject: Subject, tmp_path: Path) -> None:
    path = subject.write(tmp_path)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    first, second = (
        session.run(None, subject.inputs(onnx.load(path), seed=seed)) for seed in (2, 3)
    )

    assert all(np.isfinite(values).all() for values in first)
    assert any(not np.array_equal(*pair) for pair in zip(first, second, strict=True))
