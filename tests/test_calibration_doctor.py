"""The doctor names what is wrong with the samples, and is silent where nothing is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_onnx import DATA

from edgekit.calibration.collect import collect
from edgekit.calibration.doctor import Model, look, look_back
from edgekit.calibration.observers import choose_ranges
from edgekit.calibration.samples import open_samples
from edgekit.pipeline.build import load_source
from edgekit.pipeline.calibration import examine
from edgekit.preprocess import Preprocess
from edgekit.tensor import DType, Layout, TensorSpec

Array = NDArray[Any]
SPEC = TensorSpec("x", DType.FLOAT32, (1, 3, 24, 24), Layout.NCHW)
UNIT = {"x": Preprocess.parse("stretch,rgb,scale=1/255")}


def pictures(
    count: int = 16, *, scale: float = 1 / 255, likeness: float = 0.0
) -> list[dict[str, Array]]:
    """Return smooth random pictures, red the brightest channel."""
    generator = np.random.default_rng(0)
    common = generator.uniform(0, 200, (1, 1, 6, 6))
    found = []
    for _ in range(count):
        own = generator.uniform(0, 200, (1, 1, 6, 6))
        grey = likeness * common + (1 - likeness) * own
        grey = grey + np.array([50, 25, 0]).reshape(1, 3, 1, 1)
        found.append({"x": (np.kron(grey, np.ones((4, 4))) * scale).astype(np.float32)})
    return found


def codes(samples: list[dict[str, Array]], model: Model | None = None, **options: Any) -> list[str]:
    options.setdefault("preprocess", UNIT)
    return [finding.code for finding in look(samples, model or Model((SPEC,)), **options)]


def test_good_samples_raise_nothing() -> None:
    assert codes(pictures(), expected=200) == []


def test_few_samples_are_called_few() -> None:
    assert codes(pictures(), expected=8) == ["few"]


def test_blank_pictures_are_counted() -> None:
    samples = pictures()
    samples[3]["x"][:] = 0.5

    (finding,) = look(samples, Model((SPEC,)), preprocess=UNIT)

    assert finding.code == "constant"
    assert "1 of 16" in finding.text


def test_frames_of_one_scene_are_alike() -> None:
    assert codes(pictures(likeness=0.97)) == ["alike"]


@pytest.mark.parametrize("scale", [1.0, 1 / 255 / 255])
def test_values_that_the_preprocessing_never_gives_are_named(scale: float) -> None:
    assert codes(pictures(scale=scale)) == ["range"]


def test_samples_far_from_the_goldens_are_named() -> None:
    goldens = [{"x": sample["x"] * 0.05 + 3} for sample in pictures(4)]

    assert codes(pictures(), goldens=goldens) == ["goldens"]


def test_samples_like_the_goldens_pass() -> None:
    assert codes(pictures(), goldens=pictures(4)) == []


def sure_of(condition: Callable[[Array], bool]) -> Model:
    """Return a model that is sure of inputs of one kind only."""

    def run(sample: Mapping[str, Array]) -> dict[str, Array]:
        score = 0.95 if condition(sample["x"]) else 0.4
        return {"scores": np.array([[score, 0.05]], np.float32)}

    return Model((SPEC,), run)


def test_a_model_that_is_surer_of_the_other_colour_order_tells() -> None:
    model = sure_of(lambda x: bool(x[:, 2].mean() > x[:, 0].mean()))

    (finding,) = look(pictures(), model, preprocess=UNIT)

    assert finding.code == "colour"
    assert "40.0% sure as given and 55.0 points surer that way" in finding.text


def test_a_model_that_is_surer_of_other_values_tells() -> None:
    (finding,) = look(pictures(), sure_of(lambda x: bool(x.max() > 100)), preprocess=UNIT)

    assert finding.code == "scale"
    assert "seems to want values in 0..255" in finding.text


def test_a_model_that_is_as_sure_as_before_tells_nothing() -> None:
    assert codes(pictures(), sure_of(lambda x: True)) == []


def test_embeddings_are_no_confidence() -> None:
    def run(sample: Mapping[str, Array]) -> dict[str, Array]:
        return {"embedding": np.tile(sample["x"].mean(axis=(2, 3)), (1, 20))}

    assert codes(pictures(), Model((SPEC,), run)) == []


def test_batch_norms_tell_the_scale() -> None:
    mean, variance = np.array([150.0, 125.0, 100.0]), np.full(3, 57.0**2)
    model = Model((SPEC,), trained={"x": (mean, variance)}, probe=lambda sample: sample.items())

    (finding,) = look(pictures(), model, preprocess=UNIT)

    assert finding.code == "scale"
    assert "0..255" in finding.text


def test_batch_norms_tell_the_colour_order() -> None:
    mean, variance = np.array([20.0, 125.0, 230.0]) / 255, np.full(3, (57.0 / 255) ** 2)
    samples = pictures()
    for sample in samples:
        sample["x"] += np.array([80, 0, -80], np.float32).reshape(1, 3, 1, 1) / 255
        np.clip(sample["x"], 0, 1, out=sample["x"])
    model = Model((SPEC,), trained={"x": (mean, variance)}, probe=lambda sample: sample.items())

    (finding,) = look(samples, model, preprocess=UNIT)

    assert finding.code == "colour"


@dataclass(frozen=True)
class Stream:
    """Samples whose values grow to the end, or not."""

    count: int
    growth: float
    copies: bool = False

    @property
    def expected(self) -> int:
        return self.count

    def items(self) -> Any:
        for number in range(self.count):
            generator = np.random.default_rng(0 if self.copies else number)
            values = generator.uniform(-1, 1, 500).astype(np.float32)
            yield str(number), {"x": values * np.float32(1 + self.growth * number / self.count)}


def found_after(stream: Stream) -> list[str]:
    collected = collect(lambda sample: sample.items(), stream, names=("x",))
    ranges = choose_ranges(collected.statistics, "minmax")
    return [finding.code for finding in look_back(collected, ranges, method="minmax")]


def test_ranges_that_still_move_ask_for_more_samples() -> None:
    assert found_after(Stream(20, growth=1.0)) == ["unsettled"]


def test_settled_ranges_ask_for_nothing() -> None:
    assert found_after(Stream(20, growth=0.0)) == []


def test_copies_are_counted() -> None:
    assert found_after(Stream(20, growth=0.0, copies=True)) == ["copies"]


@dataclass(frozen=True)
class Case:
    """A trained model fed in some way, and what the doctor has to say of it."""

    id: str
    model: str
    photos: str
    steps: str
    expected: frozenset[str]


MOBILEFACE = ("model-face-mobileface-v2/mobileface_v2.onnx", "data-faces-caltech")
YUNET = ("model-face-yunet/yunet_n_640_640.onnx", "data-faces-caltech")
YOLOX = ("model-det-yolox-nano/yolox_nano.onnx", "data-coco-unlabelled")
CASES = (
    Case("mobileface", *MOBILEFACE, "stretch,rgb", frozenset()),
    Case("mobileface_unit", *MOBILEFACE, "stretch,rgb,scale=1/255", frozenset({"scale"})),
    Case("yunet", *YUNET, "letterbox,bgr", frozenset()),
    Case("yunet_unit", *YUNET, "letterbox,bgr,scale=1/255", frozenset({"scale"})),
    Case("yunet_swapped", *YUNET, "letterbox,rgb", frozenset({"colour"})),
    Case("yolox_swapped", *YOLOX, "letterbox-topleft,rgb,pad=114", frozenset({"colour"})),
    Case("yolox", *YOLOX, "letterbox-topleft,bgr,pad=114", frozenset()),
    Case("yolox_unit", *YOLOX, "letterbox-topleft,bgr,pad=114,scale=1/255", frozenset({"scale"})),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_doctor_knows_how_trained_models_are_fed(case: Case) -> None:
    model = DATA / case.model
    if not model.exists() or not (DATA / case.photos).exists():
        pytest.skip(f"no {case.model} or {case.photos} beside the repository")
    graph = load_source(Path(model), shapes={})
    steps = {graph.inputs[0].name: Preprocess.parse(case.steps)}
    samples = open_samples(DATA / case.photos, graph.inputs, preprocess=steps, limit=20)

    findings = examine(graph, samples, preprocess=steps)

    assert {finding.code for finding in findings} - {"few"} == case.expected
