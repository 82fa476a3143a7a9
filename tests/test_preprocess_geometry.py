"""Where frames lie in inputs, and the way back for boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.preprocess import Geometry, Preprocess
from edgekit.tensor import DType, TensorSpec


def image_spec(height: int, width: int) -> TensorSpec:
    return TensorSpec("image", DType.FLOAT32, (1, 3, height, width))


@dataclass(frozen=True)
class PlaceCase:
    id: str
    preprocess: Preprocess
    frame_hw: tuple[int, int]
    input_hw: tuple[int, int]
    expected: Geometry


PLACE_CASES = [
    PlaceCase("stretch", Preprocess(), (480, 640), (224, 224),
              Geometry((0, 0, 640, 480), (224, 224), (0, 0), (224, 224))),
    # 640/1280 = 0.5: 720 rows become 360, 140 above and below.
    PlaceCase("letterbox", Preprocess(resize="letterbox"), (720, 1280), (640, 640),
              Geometry((0, 0, 1280, 720), (360, 640), (0, 140), (640, 640))),
    PlaceCase("letterbox_topleft", Preprocess(resize="letterbox-topleft"), (720, 1280), (640, 640),
              Geometry((0, 0, 1280, 720), (360, 640), (0, 0), (640, 640))),
    PlaceCase("letterbox_keeps_one_row", Preprocess(resize="letterbox"), (1, 1000), (32, 32),
              Geometry((0, 0, 1000, 1), (1, 32), (0, 15), (32, 32))),
    # The image of the usual recipe: 256 on the short side, 224 out of the middle.
    PlaceCase("shortest_side", Preprocess(resize="shortest-side", crop_fraction=0.875),
              (375, 500), (224, 224),
              Geometry((0, 0, 500, 375), (256, 341), (-58, -16), (224, 224))),
    # 100 * (1 - 0.875) / 2 = 6.25, floored.
    PlaceCase("center_crop", Preprocess(resize="center-crop", crop_fraction=0.875),
              (100, 200), (224, 224),
              Geometry((12, 6, 176, 88), (224, 224), (0, 0), (224, 224))),
]  # fmt: skip


@pytest.mark.parametrize("case", PLACE_CASES, ids=lambda case: case.id)
def test_a_frame_is_placed_as_the_mode_says(case: PlaceCase) -> None:
    geometry = case.preprocess.place((*case.frame_hw, 3), image_spec(*case.input_hw))

    assert geometry == case.expected


@pytest.mark.parametrize("case", PLACE_CASES, ids=lambda case: case.id)
def test_boxes_come_back_to_where_they_were(case: PlaceCase) -> None:
    geometry = case.expected
    boxes_xyxy = np.array([[0.0, 0.0, 10.0, 20.0], [3.5, 1.0, 7.25, 9.0]])

    returned = geometry.to_frame(geometry.to_model(boxes_xyxy))

    np.testing.assert_allclose(returned, boxes_xyxy, atol=1e-9)


def test_the_corners_of_the_used_box_land_on_the_corners_of_the_picture() -> None:
    geometry = Geometry((12, 6, 176, 88), (224, 224), (0, 0), (224, 224))

    corners = geometry.to_model(np.array([[12, 6, 188, 94]]))

    np.testing.assert_allclose(corners, [[0, 0, 224, 224]])


def test_letterboxed_points_are_found_in_the_frame() -> None:
    geometry = Preprocess(resize="letterbox").place((720, 1280), image_spec(640, 640))

    point = geometry.to_frame(np.array([320, 320]))

    np.testing.assert_allclose(point, [640, 360])


@pytest.mark.parametrize("shape", [(), (3,), (2, 0)])
def test_coordinates_that_are_no_pairs_are_refused(shape: tuple[int, ...]) -> None:
    geometry = Geometry((0, 0, 4, 4), (4, 4), (0, 0), (4, 4))

    with pytest.raises(InputError, match="pairs x, y"):
        geometry.to_frame(np.zeros(shape))
