"""What a workbench measures, and what it knows without measuring."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgekit.artifact import Artifact
from edgekit.calibration.contract import Promise, Recipe, Scale
from edgekit.graph import Graph
from edgekit.pipeline import workbench
from edgekit.pipeline.build import Built
from edgekit.pipeline.workbench import Workbench
from edgekit.runtimes.evaluate import Measured
from edgekit.target import Target


class Shop:
    """Writes a file that only a layer called ``matters`` changes."""

    def __init__(self, stage: Path) -> None:
        self.stage = stage
        self.count = 0

    def build(self, target: Target, recipe: Recipe) -> tuple[Built, float]:
        self.count += 1
        folder = self.stage / f"try-{self.count}" / target.format
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_text(str("matters" in recipe.keep_float))
        artifact = Artifact("onnx", "int8", {"model": "model.onnx"}, (), ())
        return Built(artifact, folder, Graph("", (), (), (), {}, {}, 0), 1), 1.0


class Stick:
    """Measures 0.5, 0.6, 0.7, ..., one after the other."""

    def __init__(self) -> None:
        self.count = 0

    def measure(self, session: object) -> Measured:
        self.count += 1
        return Measured("top1", 0.4 + self.count / 10, "here", 10, 1.0, ())


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workbench, Stick]:
    def opened(*_: object, **__: object) -> AbstractContextManager[object]:
        return nullcontext(SimpleNamespace(runtime="onnxruntime", version="1"))

    monkeypatch.setattr(workbench, "open_emitted", opened)
    stick = Stick()
    target = Target("onnx", "onnx", "int8")
    scale = Scale(Promise(0.5), baseline=1.0)
    shop = Shop(tmp_path)
    return Workbench(shop, [target], stick, scale, preprocess={}), stick  # type: ignore[arg-type]


def test_a_file_that_was_measured_is_not_measured_again(made: tuple[Workbench, Stick]) -> None:
    bench, stick = made

    values = [
        bench.measure(Recipe(keep_float=names), ["onnx-int8"]).figures["onnx-int8"].value
        for names in [(), ("other",), ("other", "matters"), ("matters",)]
    ]

    assert values == pytest.approx([0.5, 0.5, 0.6, 0.6])
    assert stick.count == 2


def test_what_keeps_the_promise_last_is_ready_with_its_own_recipe(
    made: tuple[Workbench, Stick],
) -> None:
    bench, _ = made

    for names in [(), ("other",)]:
        bench.measure(Recipe(keep_float=names), ["onnx-int8"])

    ready = bench.ready["onnx-int8"]
    assert ready.recipe == Recipe(keep_float=("other",))
    assert ready.built.folder.is_dir()
