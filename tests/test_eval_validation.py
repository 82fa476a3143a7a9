"""Validation sets: every kind is recognised, read, numbered as said, and refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import EdgeKitError, InputError, UsageError
from edgekit.runtimes.validation import VALIDATIONS, Wanted, guess_kind, open_validation
from edgekit.tensor import DType, TensorSpec

cv2 = pytest.importorskip("cv2", reason="needs OpenCV: pip install 'edgekit[vision]'")

WANTED = Wanted((TensorSpec("image", DType.FLOAT32, (1, 3, 8, 8)),), labels=("cat", "dog", "owl"))


def draw(path: Path, *, grey: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((6, 9, 3), grey, np.uint8))


def labels_of(path: Path, *, wanted: Wanted = WANTED) -> list[Any]:
    return [sample.expected for sample in open_validation(path, wanted)]


def test_folders_are_numbered_by_the_models_labels(tmp_path: Path) -> None:
    for name in ("owl", "cat"):
        draw(tmp_path / name / "a.png")

    validation = open_validation(tmp_path, WANTED)

    assert validation.kind == "folders"
    assert [sample.expected for sample in validation] == [0, 2]
    assert "numbered by the model's labels" in validation.description


def test_folders_with_a_leading_number_and_a_label_are_numbered_by_the_label(
    tmp_path: Path,
) -> None:
    for name in ("5_owl", "6_cat"):
        draw(tmp_path / name / "a.png")

    assert labels_of(tmp_path) == [2, 0]


def test_folders_of_other_names_are_numbered_by_their_leading_number(tmp_path: Path) -> None:
    for name in ("7_bus", "3_car"):
        draw(tmp_path / name / "a.png")

    assert labels_of(tmp_path) == [3, 7]


def test_folders_of_persons_are_numbered_in_order_of_name(tmp_path: Path) -> None:
    for name in ("bob", "ann"):
        draw(tmp_path / name / "a.png")

    validation = open_validation(tmp_path, WANTED)

    assert [sample.expected for sample in validation] == [0, 1]
    assert "in the order of their names" in validation.description


def test_a_csv_takes_numbers_and_labels(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    draw(tmp_path / "b.png")
    (tmp_path / "labels.csv").write_text("image,label\na.png,1\nb.png,owl\n", encoding="utf-8")

    assert labels_of(tmp_path) == [1, 2]
    assert labels_of(tmp_path / "labels.csv") == [1, 2]


def test_a_csv_names_the_line_of_a_bad_label(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,label\na.png,fox\n", encoding="utf-8")

    with pytest.raises(InputError, match=r"line 2: label 'fox' is neither"):
        open_validation(tmp_path, WANTED)


def test_a_csv_without_the_columns_says_which_it_has(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,class\n", encoding="utf-8")

    with pytest.raises(InputError, match=r"'file', 'class'.*image and label"):
        open_validation(tmp_path, WANTED)


def coco(tmp_path: Path, **changes: Any) -> Path:
    draw(tmp_path / "images" / "a.png")
    data = {
        "images": [{"id": 7, "file_name": "a.png"}],
        "categories": [{"id": 3, "name": "owl"}, {"id": 1, "name": "cat"}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 0},
            {"image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 6], "iscrowd": 1},
        ],
        **changes,
    }
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_coco_boxes_become_corners_with_class_and_crowd(tmp_path: Path) -> None:
    (rows,) = labels_of(coco(tmp_path))

    np.testing.assert_array_equal(rows, [[1, 2, 4, 6, 2, 0], [0, 0, 9, 6, 0, 1]])


def test_coco_categories_of_other_names_are_numbered_by_their_ids(tmp_path: Path) -> None:
    (rows,) = labels_of(coco(tmp_path), wanted=Wanted(WANTED.inputs))

    np.testing.assert_array_equal(rows[:, 4], [1, 0])


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "absent.png"])
def test_coco_pictures_are_beside_the_file(tmp_path: Path, name: str) -> None:
    path = coco(tmp_path, images=[{"id": 7, "file_name": name}])

    with pytest.raises(InputError, match="picture"):
        open_validation(path, WANTED)


def test_json_that_is_not_cocos_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("[1, 2]", encoding="utf-8")

    with pytest.raises(InputError, match="not COCO's JSON"):
        open_validation(path, WANTED)


@pytest.mark.parametrize(("pictures", "masks"), [("images", "masks"), ("test", "testannot")])
def test_masks_are_read_as_classes(tmp_path: Path, pictures: str, masks: str) -> None:
    draw(tmp_path / pictures / "a.jpg")
    (tmp_path / masks).mkdir()
    mask = np.arange(54, dtype=np.uint8).reshape(6, 9)
    cv2.imwrite(str(tmp_path / masks / "a.png"), mask)

    (found,) = labels_of(tmp_path if pictures == "images" else tmp_path / pictures)

    np.testing.assert_array_equal(found, mask)


def test_a_colour_mask_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a.png")
    draw(tmp_path / "masks" / "a.png")

    with pytest.raises(InputError, match="one channel is expected"):
        labels_of(tmp_path)


def test_a_picture_without_mask_is_named(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()

    with pytest.raises(InputError, match=r"a\.png has no mask"):
        open_validation(tmp_path, WANTED)


def test_pictures_alone_have_no_labels(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")

    validation = open_validation(tmp_path, WANTED)

    assert not validation.is_labelled
    assert labels_of(tmp_path) == [None]


def test_an_npz_of_tensors_gives_each_its_first_axis(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((4, 3, 8, 8), np.float32)
    np.savez(tmp_path / "x.npz", image=values, labels=[2, 1, 0, 2])

    samples = list(open_validation(tmp_path / "x.npz", WANTED))

    assert [sample.expected for sample in samples] == [2, 1, 0, 2]
    np.testing.assert_array_equal(samples[3].inputs["image"], values[3:])


def test_an_npz_of_frames_of_any_name_gives_frames(tmp_path: Path) -> None:
    frames = np.zeros((2, 5, 7, 3), np.uint8)
    np.savez(tmp_path / "x.npz", frames=frames, labels=["ann", "bob"])

    samples = list(open_validation(tmp_path / "x.npz", WANTED))

    assert [sample.expected for sample in samples] == ["ann", "bob"]
    assert samples[0].inputs["image"].shape == (5, 7, 3)


def test_an_npz_with_too_few_labels_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=np.zeros((4, 3, 8, 8), np.float32), labels=[1])

    with pytest.raises(InputError, match=r"\[1, 4\] samples"):
        open_validation(tmp_path / "x.npz", WANTED)


def test_an_npz_with_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=np.array([{}], dtype=object))

    with pytest.raises(InputError, match="not a readable"):
        open_validation(tmp_path / "x.npz", WANTED)


def test_a_thinned_set_is_spread_over_all_of_it(tmp_path: Path) -> None:
    values = np.zeros((10, 3, 8, 8), np.float32)
    np.savez(tmp_path / "x.npz", image=values, labels=np.arange(10))

    thinned = open_validation(tmp_path / "x.npz", WANTED).thinned(4)

    assert [sample.expected for sample in thinned] == [0, 2, 5, 7]
    assert thinned.description == "4 of the 10 samples of x.npz"


def test_a_relabelled_set_keeps_its_samples(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")

    validation = open_validation(tmp_path, WANTED).relabelled([5], "pictures labelled by hand")

    assert [(s.origin, s.expected) for s in validation] == [("a.png", 5)]
    assert validation.is_labelled


def test_a_picture_needs_a_model_with_one_input(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    two = Wanted((*WANTED.inputs, TensorSpec("size", DType.FLOAT32, (1, 2))))

    with pytest.raises(UsageError, match=r"2 inputs.*arrays image, size"):
        labels_of(tmp_path, wanted=two)


def test_what_is_no_validation_set_is_refused_with_what_one_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder of pictures"):
        guess_kind(tmp_path)


@pytest.mark.parametrize("kind", VALIDATIONS)
def test_every_kind_refuses_an_empty_folder_in_words(tmp_path: Path, kind: str) -> None:
    with pytest.raises(EdgeKitError, match=str(tmp_path)):
        open_validation(tmp_path, WANTED, kind=kind)


@pytest.mark.parametrize("kind", VALIDATIONS)
@pytest.mark.parametrize("content", [b"", b"\xcc\xba\x00 junk"], ids=["empty", "junk"])
def test_every_kind_refuses_a_file_that_is_no_such_set_in_words(
    tmp_path: Path, kind: str, content: bytes
) -> None:
    file = tmp_path / "samples"
    file.write_bytes(content)

    with pytest.raises(EdgeKitError, match=str(file)):
        open_validation(file, WANTED, kind=kind)


def test_the_current_folder_is_looked_at_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "test" / "a.png")
    (tmp_path / "testannot").mkdir()
    cv2.imwrite(str(tmp_path / "testannot" / "a.png"), np.full((6, 9), 2, np.uint8))
    monkeypatch.chdir(tmp_path / "test")

    (mask,) = labels_of(Path())

    assert guess_kind(Path()) == "masks"
    assert np.unique(mask).tolist() == [2]
