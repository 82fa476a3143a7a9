"""Samples come one at a time, in a stable order, as the model takes them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.calibration.samples import Samples, open_samples
from edgekit.errors import CalibrationError, InputError, UsageError
from edgekit.preprocess import Preprocess
from edgekit.tensor import DType, TensorSpec

IMAGE = TensorSpec("x", DType.FLOAT32, (1, 3, 8, 8))
STEPS = {"x": Preprocess.parse("stretch,rgb,scale=1/255")}
NUMBERS = TensorSpec("x", DType.FLOAT32, (1, 4))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for index, name in enumerate(("b/1.png", "a/2.png", "a/1.png", "c.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((8, 8, 3), 40 * index, np.uint8))
    return folder


def names_of(samples: Samples) -> list[str]:
    return [name for name, _ in samples.items()]


def test_pictures_are_found_in_subfolders_in_sorted_order(photos: Path) -> None:
    samples = open_samples(photos, (IMAGE,), preprocess=STEPS)

    assert names_of(samples) == ["a/1.png", "a/2.png", "b/1.png", "c.png"]
    assert len(samples) == 4


def test_pictures_go_through_the_preprocessing(photos: Path) -> None:
    (first, *_) = open_samples(photos, (IMAGE,), preprocess=STEPS)

    assert first["x"].shape == (1, 3, 8, 8)
    assert first["x"].max() == pytest.approx(80 / 255)


def test_a_second_reading_gives_the_same(photos: Path) -> None:
    samples = open_samples(photos, (IMAGE,), preprocess=STEPS)

    assert [s["x"].tobytes() for s in samples] == [s["x"].tobytes() for s in samples]


def test_a_limit_is_spread_over_the_folder(photos: Path) -> None:
    samples = open_samples(photos, (IMAGE,), preprocess=STEPS, limit=2)

    assert names_of(samples) == ["a/1.png", "b/1.png"]


def test_an_unreadable_picture_is_named_and_skipped(photos: Path) -> None:
    (photos / "a/1.png").write_bytes(b"no picture")
    samples = open_samples(photos, (IMAGE,), preprocess=STEPS)

    assert len(list(samples)) == 3
    assert samples.skipped == ["a/1.png is not a picture that can be read"]


def test_only_unreadable_pictures_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "one.jpg").write_bytes(b"no picture")

    with pytest.raises(CalibrationError, match=r"one\.jpg"):
        list(open_samples(tmp_path, (IMAGE,), preprocess=STEPS))


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no pictures"):
        open_samples(tmp_path, (IMAGE,), preprocess=STEPS)


def test_pictures_without_preprocessing_are_refused(photos: Path) -> None:
    with pytest.raises(UsageError, match="--preprocess"):
        list(open_samples(photos, (IMAGE,)))


def test_a_video_gives_frames_spread_over_it(tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 32))
    for index in range(12):
        writer.write(np.full((32, 32, 3), 20 * index, np.uint8))
    writer.release()

    samples = open_samples(path, (IMAGE,), preprocess=STEPS, limit=3)

    assert names_of(samples) == ["frame 0", "frame 4", "frame 8"]


def rows(count: int = 5) -> NDArray[np.float32]:
    return np.arange(count * 4, dtype=np.float32).reshape(count, 4)


def test_a_npy_array_is_one_sample_a_row(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows())

    samples = list(open_samples(tmp_path / "x.npy", (NUMBERS,)))

    assert (np.concatenate([s["x"] for s in samples]) == rows()).all()


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_npz_file_fills_each_input_by_name(tmp_path: Path, is_compressed: bool) -> None:
    save = np.savez_compressed if is_compressed else np.savez
    save(tmp_path / "s.npz", x=rows(), y=rows() + 1, other=rows(2))
    second = TensorSpec("y", DType.FLOAT32, (1, 4))

    samples = list(open_samples(tmp_path / "s.npz", (NUMBERS, second), limit=2))

    assert [s["y"][0, 0] - s["x"][0, 0] for s in samples] == [1, 1]


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", z=rows(), w=rows())

    with pytest.raises(InputError, match="'x'"):
        open_samples(tmp_path / "s.npz", (NUMBERS,))


def test_the_only_array_beside_labels_fills_the_only_input(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", frames=rows(), labels=np.arange(len(rows())))

    samples = list(open_samples(tmp_path / "s.npz", (NUMBERS,)))

    assert [sample[NUMBERS.name].tolist() for sample in samples] == [
        row[None].tolist() for row in rows()
    ]


def test_an_array_of_another_shape_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 5), np.float32))

    with pytest.raises(InputError, match=r"\(1, 5\)"):
        list(open_samples(tmp_path / "x.npy", (NUMBERS,)))


def test_uint8_rows_are_frames(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((2, 16, 16, 3), 255, np.uint8))

    (first, _) = open_samples(tmp_path / "x.npy", (IMAGE,), preprocess=STEPS)

    assert first["x"].max() == 1.0


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_samples.py").write_text(
        "import numpy as np\n"
        "as_list = [np.full(4, i, np.float32) for i in range(3)]\n"
        "def as_function():\n"
        "    for item in as_list:\n"
        "        yield {'x': item}\n"
        "once = iter(as_list)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "my_samples"


@pytest.mark.parametrize("name", ["as_list", "as_function"])
def test_a_module_gives_samples_again_and_again(module: str, name: str) -> None:
    samples = open_samples(f"{module}:{name}", (NUMBERS,))

    assert [s["x"][0, 0] for s in samples] == [s["x"][0, 0] for s in samples] == [0, 1, 2]


def test_an_iterator_that_ends_for_good_is_refused(module: str) -> None:
    with pytest.raises(UsageError, match="once only"):
        open_samples(f"{module}:once", (NUMBERS,))


@pytest.mark.parametrize("source", ["nowhere", "no.such.module:name", "json:nothing", "README.md"])
def test_what_is_no_source_is_refused(source: str) -> None:
    with pytest.raises(UsageError):
        open_samples(source, (NUMBERS,))
