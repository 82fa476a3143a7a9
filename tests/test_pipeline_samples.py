"""Samples come from pictures, arrays or seeded noise, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.artifact import Artifact
from edgekit.errors import InputError, UsageError
from edgekit.pipeline.samples import noise_samples, sample_from_file
from edgekit.preprocess import Preprocess
from edgekit.tensor import DType, TensorSpec

cv2 = pytest.importorskip("cv2")

IMAGE = TensorSpec("image", DType.FLOAT32, (1, 3, 8, 12))
INDEX = TensorSpec("index", DType.INT64, ("batch", 4))
RGB = Preprocess.parse("stretch,rgb,scale=1/255")


def artifact(*, fused: tuple[str, ...] = ()) -> Artifact:
    return Artifact("onnx", "fp32", {"model": "m"}, (), (), fused_preprocess=fused)


def write_picture(folder: Path) -> Path:
    path = folder / "photo.png"
    cv2.imwrite(str(path), np.full((16, 24, 3), (255, 0, 0), np.uint8))  # blue
    return path


def test_noise_is_the_same_on_every_call_and_differs_between_the_two() -> None:
    first, second = noise_samples([IMAGE], preprocess={})
    again, _ = noise_samples([IMAGE], preprocess={})

    assert np.array_equal(first.tensors["image"], again.tensors["image"])
    assert not np.array_equal(first.tensors["image"], second.tensors["image"])


def test_noise_has_other_sizes_on_dynamic_axes() -> None:
    first, second = noise_samples([INDEX], preprocess={})

    assert first.tensors["index"].shape != second.tensors["index"].shape
    assert first.tensors["index"].dtype == np.int64


def test_noise_for_an_input_with_preprocessing_is_a_frame_preprocessed() -> None:
    sample, _ = noise_samples([IMAGE], preprocess={"image": RGB})

    assert sample.frames["image"].shape == (8, 12, 3)
    assert np.array_equal(sample.tensors["image"], RGB.apply(sample.frames["image"], IMAGE))


def test_a_picture_becomes_the_input_by_its_preprocessing(tmp_path: Path) -> None:
    sample = sample_from_file(write_picture(tmp_path), [IMAGE], preprocess={"image": RGB})

    # A blue picture: red and green 0, blue 1, channels first.
    assert sample.tensors["image"].shape == (1, 3, 8, 12)
    assert sample.tensors["image"][0, :, 0, 0].tolist() == [0, 0, 1]
    assert sample.origin == "photo.png"


def test_a_fused_artifact_is_fed_the_frame_and_a_plain_one_the_tensor(tmp_path: Path) -> None:
    sample = sample_from_file(write_picture(tmp_path), [IMAGE], preprocess={"image": RGB})

    assert sample.feed(artifact(fused=("image",)))["image"].dtype == np.uint8
    assert sample.feed(artifact())["image"].dtype == np.float32


def test_a_tensor_cannot_feed_a_fused_artifact(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=np.zeros((1, 3, 8, 12), np.float32))
    sample = sample_from_file(tmp_path / "x.npz", [IMAGE], preprocess={"image": RGB})

    with pytest.raises(UsageError, match="give a picture"):
        sample.feed(artifact(fused=("image",)))


def test_an_npz_gives_every_input_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", index=np.ones((2, 4), np.int64))

    sample = sample_from_file(tmp_path / "x.npz", [INDEX], preprocess={})

    assert sample.tensors["index"].shape == (2, 4)


def test_a_picture_without_preprocessing_is_refused_with_the_option(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--preprocess"):
        sample_from_file(write_picture(tmp_path), [IMAGE], preprocess={})


def test_a_picture_for_a_model_of_two_inputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 inputs"):
        sample_from_file(write_picture(tmp_path), [IMAGE, INDEX], preprocess={"image": RGB})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": np.zeros((1, 4), np.int64)}, "lacks index"),
        ({"index": np.zeros((1, 5), np.int64)}, r"shape \(1, 5\)"),
        ({"index": np.zeros((1, 4), np.int32)}, "int32"),
    ],
)
def test_arrays_that_are_not_the_input_are_refused(
    arrays: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)

    with pytest.raises(InputError, match=message):
        sample_from_file(tmp_path / "x.npz", [INDEX], preprocess={})


def test_a_pickle_inside_an_npz_is_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", index=np.array([{}], dtype=object))

    with pytest.raises(InputError, match="not a readable"):
        sample_from_file(tmp_path / "x.npz", [INDEX], preprocess={})


def test_a_file_that_is_no_picture_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"not a picture")

    with pytest.raises(InputError, match="not a picture"):
        sample_from_file(tmp_path / "x.jpg", [IMAGE], preprocess={"image": RGB})


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=np.full((1, 3, 8, 12), np.nan, np.float32))

    with pytest.raises(InputError, match="NaN"):
        sample_from_file(tmp_path / "x.npz", [IMAGE], preprocess={})
