"""What apps share: alignment, sources of frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")

from edgekit.apps.vision.align import fit_similarity, warp  # noqa: E402
from edgekit.apps.vision.draw import GREEN, draw_banner, draw_box  # noqa: E402
from edgekit.apps.vision.images import read_frame, write_frame  # noqa: E402
from edgekit.apps.vision.video import Source, csi_pipeline, open_frames  # noqa: E402
from edgekit.apps.vision.window import Window, why_no_window  # noqa: E402
from edgekit.errors import InputError, UsageError  # noqa: E402

POINTS = np.array([(30.0, 40.0), (70.0, 42.0), (50.0, 60.0), (35.0, 80.0), (66.0, 79.0)])
EXACT = 1e-9  # float64, numbers up to 1000
HALF_PIXEL = 0.5


def test_a_similarity_is_found_again() -> None:
    angle, scale, shift = 0.3, 2.5, np.array([100.0, -20.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    matrix = fit_similarity(POINTS, scale * POINTS @ turn.T + shift)

    assert np.abs(matrix - np.column_stack([scale * turn, shift])).max() < EXACT


def test_a_fit_is_the_least_squares_one() -> None:
    target = POINTS + np.random.default_rng(0).normal(0, 5, POINTS.shape)
    # A similarity is linear in a, b and the shift: x' = a x - b y + s, y' = b x + a y + t.
    zero, one = np.zeros(len(POINTS)), np.ones(len(POINTS))
    x, y = POINTS.T
    rows = np.vstack([np.column_stack([x, -y, one, zero]), np.column_stack([y, x, zero, one])])
    a, b, s, t = np.linalg.lstsq(rows, target.T.ravel(), rcond=None)[0]

    matrix = fit_similarity(POINTS, target)

    assert np.abs(matrix - [[a, -b, s], [b, a, t]]).max() < EXACT


def test_a_fit_does_not_mirror() -> None:
    matrix = fit_similarity(POINTS, POINTS * [-1, 1])

    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (np.ones((5, 2)), "no size or angle"),
        (np.full((5, 2), np.nan), "not finite"),
        (np.ones((1, 2)), "same shape"),
    ],
    ids=["one place", "nan", "one point"],
)
def test_points_that_fix_nothing_are_refused(source: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        fit_similarity(source, POINTS[: len(source)])


@pytest.mark.parametrize("side", [40, 100, 800])
def test_a_point_lands_where_the_fit_says(side: int) -> None:
    frame = np.zeros((800, 800, 3), np.uint8)
    cv2.circle(frame, (500, 300), 30, (255, 255, 255), -1)
    matrix = fit_similarity(
        np.array([(0, 0), (799, 799)]), np.array([(0, 0), (side - 1, side - 1)])
    )

    square = warp(frame, matrix, side)

    y, x = np.nonzero(square[..., 0] > 127)
    want = matrix @ [500, 300, 1]
    assert np.abs([x.mean() - want[0], y.mean() - want[1]]).max() < HALF_PIXEL


@pytest.mark.parametrize("corner", [(0, 0), (500, 350), (-90, -60), (700, 500)], ids=str)
def test_what_is_cut_out_does_not_depend_on_what_is_around_it(corner: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frame = cv2.GaussianBlur(rng.integers(0, 256, (600, 800, 3), np.uint8), (0, 0), 8)
    wide = cv2.copyMakeBorder(frame, 300, 300, 300, 300, cv2.BORDER_CONSTANT)
    turn = 0.25 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    matrix = np.column_stack([turn, -turn @ corner])
    moved = np.column_stack([turn, -turn @ (np.array(corner) + 300)])

    part, of_wide = warp(frame, matrix, 50), warp(wide, moved, 50)

    # The grids that the two are shrunk on differ by a part of a pixel; the blur is 8 wide.
    assert np.abs(part.astype(int) - of_wide).mean() < 2


def test_what_shrinks_much_is_averaged_and_not_picked_from() -> None:
    noise = np.random.default_rng(0).choice([0, 255], (640, 640, 1))
    matrix = np.array([[0.125, 0, 0], [0, 0.125, 0]])

    square = warp(np.repeat(noise, 3, axis=2).astype(np.uint8), matrix, 80)

    # The mean of 4 x 4 pixels or more spreads by 255 / 2 / 4 = 32, one pixel by 128.
    assert square.mean() == pytest.approx(127.5, abs=3)
    assert square.std() < 33


@pytest.mark.parametrize(
    "given", [{}, {"camera": 0, "csi": 0}, {"camera": -1}, {"video": Path("no-such.mp4")}], ids=str
)
def test_one_source_is_needed(given: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Source(**given)  # type: ignore[arg-type]


def test_a_csi_pipeline_leaves_the_gpus_memory_before_it_ends() -> None:
    parts = csi_pipeline(1, size_wh=(640, 480), fps=60, flip=2).split(" ! ")

    assert parts == [
        "nvarguscamerasrc sensor-id=1",
        "video/x-raw(memory:NVMM), width=640, height=480, format=NV12, framerate=60/1",
        "nvvidconv flip-method=2",
        "video/x-raw, format=BGRx",
        "videoconvert",
        "video/x-raw, format=BGR",
        "appsink drop=true max-buffers=1 sync=false",
    ]


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    path.write_bytes(b"no video")

    with (
        pytest.raises(InputError, match=r"noise\.mp4 cannot be opened"),
        open_frames(Source(video=path)),
    ):
        pass


def test_a_picture_is_written_whole_and_read_again(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)

    write_frame(tmp_path / "a.png", frame)

    assert np.array_equal(read_frame(tmp_path / "a.png"), frame)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_name_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no name of a picture"):
        write_frame(tmp_path / "a.exe", np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize("box", [(-50, -50, 10, 10), (5, 5, 300, 300), (0, 0, 40, 30)], ids=str)
def test_a_box_that_leaves_the_frame_is_drawn(box: tuple[int, ...]) -> None:
    frame = np.zeros((60, 80, 3), np.uint8)

    draw_box(frame, np.array(box, float), "Zoë", GREEN)
    draw_banner(frame, "a line that is longer than the picture is wide", GREEN)

    assert (frame == GREEN).all(axis=-1).any()


@pytest.mark.parametrize(
    ("build", "display", "says"),
    [
        ("  GUI:                           NONE", ":0", "built without windows"),
        ("  GUI:                           QT5", "", "there is no display"),
        ("  GUI:                           GTK3", ":0", ""),
    ],
    ids=["headless", "no display", "both"],
)
def test_a_window_needs_a_display_and_an_opencv_with_windows(
    build: str, display: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: f"General\n{build}\n  GTK+: NO\n")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display)

    assert (says in why_no_window()) if says else why_no_window() == ""


@pytest.mark.parametrize(("key", "ends"), [(-1, False), (ord("q"), True), (27, True)], ids=str)
def test_q_and_escape_end_a_window(key: int, ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(cv2, "imshow", lambda title, _: done.append(title))
    monkeypatch.setattr(cv2, "waitKey", lambda _: key)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: done.append("closed"))

    with Window("faces") as window:
        assert window.show(np.zeros((4, 4, 3), np.uint8)) is ends

    assert done == ["faces", "closed"]
