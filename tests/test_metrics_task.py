"""Task metrics: hand-made cases, scikit-learn and pycocotools as oracles, and their limits."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from edgekit.errors import InputError, ShapeError, UsageError
from edgekit.metrics import METRICS
from edgekit.metrics.base import Metric
from edgekit.metrics.boxes import overlaps, suppress
from edgekit.metrics.classification import Top1, TopK
from edgekit.metrics.detection import MeanAveragePrecision
from edgekit.metrics.fidelity import MeanCosine, MeanPsnr
from edgekit.metrics.interval import interval, paired_interval
from edgekit.metrics.pick import UserMetric, pick_metric
from edgekit.metrics.segmentation import MeanIoU
from edgekit.metrics.verification import EqualErrorRate, TrueAcceptRate

# Binning of similarities: 2 / 2**18, and rates of a few hundred pairs.
EER_ATOL = 2e-3


def small_sample(metric: Metric, rng: np.random.Generator) -> tuple[Any, Any]:
    if metric.kind == "scores":
        return rng.random(7), rng.integers(7)
    if metric.kind == "map":
        return rng.random((3, 4, 5)), rng.integers(0, 3, (4, 5))
    if metric.kind == "boxes":
        corner, size = rng.random((3, 2)) * 50, rng.random((3, 2)) * 50
        box = np.hstack([corner, corner + size])
        score, label = rng.random((3, 1)), rng.integers(0, 2, (3, 1))
        return np.hstack([box + rng.random((3, 4)), score, label]), np.hstack([box, label])
    if metric.kind == "embedding":
        return rng.standard_normal(8), int(rng.integers(3))
    return rng.random((4, 4)), rng.random((4, 4))


@pytest.fixture(params=METRICS)
def metric(request: pytest.FixtureRequest) -> Metric:
    return pick_metric(request.param)


def fill(metric: Metric, count: int, *, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        actual, expected = small_sample(metric, rng)
        metric.add([actual], [expected])


def test_every_metric_counts_its_samples_and_scores_each(metric: Metric) -> None:
    fill(metric, 12)

    assert metric.count == 12
    assert len(metric.scores()) == 12
    assert np.isfinite(metric.value())


def test_every_metric_gives_the_same_where_each_sample_counts_twice(metric: Metric) -> None:
    fill(metric, 12)

    twice = metric.value(np.full(12, 2))

    assert twice == pytest.approx(metric.value())


def test_every_metric_without_some_samples_is_as_if_they_had_not_been(metric: Metric) -> None:
    other = pick_metric(next(n for n, e in METRICS.items() if e.load() is type(metric)))
    fill(metric, 12)
    fill(other, 9)
    counts = np.array([1] * 9 + [0] * 3)

    assert metric.value(counts) == pytest.approx(other.value())


def test_every_metric_refuses_a_value_of_nothing(metric: Metric) -> None:
    with pytest.raises(UsageError, match="seen no sample"):
        metric.value()


def test_every_metric_refuses_labels_that_do_not_match_in_number(metric: Metric) -> None:
    with pytest.raises(InputError, match="2 results against 1 labels"):
        metric.add([np.zeros(1)] * 2, [0])


def test_top1_is_the_share_of_right_samples() -> None:
    metric = Top1()

    metric.add(np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6], [0.5, 0.5]]), np.array([1, 0, 0, 0]))

    assert metric.scores() == (1, 1, 0, 1)
    assert metric.value() == 0.75


def test_topk_takes_the_lower_class_first_among_equals() -> None:
    metric = TopK(k=2)

    metric.add(np.array([[5, 5, 5], [5, 5, 5], [5, 5, 5]]), [0, 1, 2])

    assert metric.scores() == (1, 1, 0)


def test_top1_counts_a_nan_as_wrong() -> None:
    metric = Top1()

    metric.add([np.array([np.nan, 0.0])], [1])

    assert metric.value() == 0


def test_top1_names_a_label_that_is_no_class() -> None:
    with pytest.raises(InputError, match="label 10 is none of the model's 10 classes"):
        Top1().add([np.zeros(10)], [10])


# By hand, 2 x 4 pixels. Class 0: 2 of 4; class 1: 2 of 4; class 2: 1 of 2; void: 0 of 1.
MASK = np.array([[0, 0, 0, 1], [1, 1, 2, 3]])
FOUND = np.array([[0, 0, 1, 1], [1, 0, 2, 2]])


@dataclass(frozen=True)
class IouCase:
    id: str
    expected: float
    options: dict[str, Any] = field(default_factory=dict)


IOU_CASES = [
    IouCase("void_is_a_class", (0.5 + 0.5 + 0.5 + 0) / 4),
    IouCase("void_is_uncounted", 0.5, {"uncounted": (3,)}),
    IouCase("void_is_ignored", (0.5 + 0.5 + 1) / 3, {"ignore": 3}),
]


@pytest.mark.parametrize("case", IOU_CASES, ids=lambda case: case.id)
def test_mean_iou_treats_void_as_told(case: IouCase) -> None:
    metric = MeanIoU(**case.options)

    metric.add([FOUND], [MASK])

    assert metric.value() == pytest.approx(case.expected)


def test_mean_iou_counts_the_pixels_of_all_pictures_together() -> None:
    metric = MeanIoU()

    metric.add([np.array([[0, 0, 0, 1]]), np.array([[1, 1, 1, 1]])],
               [np.array([[0, 0, 0, 0]]), np.array([[1, 1, 1, 1]])])  # fmt: skip

    # class 0: 3 of 4; class 1: 4 of 5
    assert metric.value() == pytest.approx((0.75 + 0.8) / 2)
    assert metric.scores() == pytest.approx((0.375, 1.0))


def test_mean_iou_takes_scores_and_finds_their_best_class() -> None:
    metric, of_maps = MeanIoU(), MeanIoU()
    scores = np.random.default_rng(0).random((1, 4, 2, 4))

    metric.add([scores], [MASK])
    of_maps.add([scores[0].argmax(0)], [MASK])

    assert metric.value() == of_maps.value()


def test_mean_iou_refuses_another_size() -> None:
    with pytest.raises(InputError, match=r"\(2, 3\) against a mask of \(2, 4\)"):
        MeanIoU().add([np.zeros((2, 3), np.uint8)], [MASK])


def test_cosine_is_the_mean_of_the_samples() -> None:
    metric = MeanCosine()

    metric.add([np.array([3.0, 4.0]), np.array([1.0, 0.0])], [np.array([4.0, 3.0]), np.zeros(2)])

    assert metric.value() == pytest.approx(0.48)


def test_psnr_is_the_one_worked_out_by_hand() -> None:
    metric = MeanPsnr()

    metric.add([np.full((2, 2), 10, np.uint8)], [np.zeros((2, 2), np.uint8)])

    # 20 log10(255 / 10)
    assert metric.value() == pytest.approx(28.1308036)


def test_psnr_of_equal_pictures_does_not_hide_the_others() -> None:
    metric = MeanPsnr()
    black = np.zeros((2, 2), np.float32)

    metric.add([black, black + 0.1], [black, black])

    assert metric.value() == pytest.approx((100 + 20) / 2)


def test_psnr_refuses_another_shape() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 2\)"):
        MeanPsnr().add([np.zeros((2, 2))], [np.zeros((2, 3))])


def angles(*degrees: float) -> Any:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_persons_that_lie_apart_have_no_equal_errors() -> None:
    metric = EqualErrorRate()

    metric.add(angles(0, 10, 90, 100), ["a", "a", "b", "b"])

    assert metric.value() == 0


def test_equal_error_rate_is_the_one_worked_out_by_hand() -> None:
    metric = EqualErrorRate()

    # Pairs of one person: 10, 60 degrees. Of two: 50, 110, 40, 100. At 50 degrees one of two
    # persons' pairs fails (1/2) and two of four strangers' pass (1/2).
    metric.add(angles(0, 10, 50, 110), ["a", "a", "b", "b"])

    assert metric.value() == pytest.approx(0.5)


def test_true_accept_rate_keeps_to_the_false_ones_allowed() -> None:
    strict, loose = TrueAcceptRate(far=0.1), TrueAcceptRate(far=0.5)
    for metric in (strict, loose):
        metric.add(angles(0, 10, 50, 110), ["a", "a", "b", "b"])

    # Strangers are 40, 50, 100 and 110 degrees apart. None may pass: of one person only the
    # pair at 10 does. Two may: the one at 60 does too.
    assert strict.value() == 0.5
    assert loose.value() == 1.0


def test_rates_are_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="needs pip install 'edgekit[test]'")
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(12), 6)
    embeddings = rng.standard_normal((12, 16))[labels] + 1.1 * rng.standard_normal((72, 16))
    metric, accepted = EqualErrorRate(), TrueAcceptRate(far=0.05)
    metric.add(embeddings, labels)
    accepted.add(embeddings, labels)

    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    upper = np.triu_indices(72, 1)
    is_same = (labels[:, None] == labels)[upper]
    false, true, _ = sklearn.roc_curve(is_same, (unit @ unit.T)[upper], drop_intermediate=False)
    nearest = np.argmin(np.abs(false - (1 - true)))
    assert metric.value() == pytest.approx((false + 1 - true)[nearest] / 2, abs=EER_ATOL)
    assert accepted.value() == pytest.approx(true[false <= 0.05].max(), abs=EER_ATOL)


def test_verification_without_pairs_says_what_is_needed() -> None:
    metric = EqualErrorRate()
    metric.add(angles(0, 10), ["a", "b"])

    with pytest.raises(UsageError, match="at least two persons, one of them twice"):
        metric.value()


def test_overlap_of_a_quarter_is_a_seventh() -> None:
    # 1 of 4 + 4 - 1
    shares = overlaps(np.array([[0, 0, 2, 2]]), np.array([[1, 1, 3, 3], [5, 5, 6, 6]]))

    np.testing.assert_allclose(shares, [[1 / 7, 0]])


def test_suppression_keeps_the_best_of_a_class_and_other_classes() -> None:
    rows = np.array(
        [[0, 0, 10, 10, 0.5, 1], [0, 0, 10, 9, 0.9, 1], [0, 0, 10, 10, 0.4, 2]], np.float64
    )

    kept = suppress(rows, iou=0.5, max_boxes=10)

    np.testing.assert_array_equal(kept[:, 4], [0.9, 0.4])


def test_boxes_that_are_the_labels_have_map_1() -> None:
    metric = MeanAveragePrecision()
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 40]])

    metric.add([np.hstack([boxes, [[0.9, 3], [0.8, 3]]])], [np.hstack([boxes, [[3], [3]]])])

    assert metric.value() == pytest.approx(1)


def test_a_better_scored_false_box_halves_the_precision() -> None:
    metric = MeanAveragePrecision(iou=0.5)

    metric.add([[[50, 50, 60, 60, 0.9, 0], [0, 0, 10, 10, 0.8, 0]]], [[[0, 0, 10, 10, 0]]])

    assert metric.value() == pytest.approx(0.5)


def coco_scene(seed: int, pictures: int) -> tuple[list[Any], list[Any]]:
    """Return boxes found and labels: shifted, doubled, missed and false ones, some crowds."""
    rng = np.random.default_rng(seed)
    found, wanted = [], []
    for _ in range(pictures):
        count = int(rng.integers(0, 8))
        corner, size = rng.integers(0, 80, (count, 2)), rng.integers(5, 60, (count, 2))
        labels = rng.integers(0, 4, (count, 1))
        crowd = (rng.random((count, 1)) < 0.15).astype(float)
        boxes = np.hstack([corner, corner + size]).astype(float)
        wanted.append(np.hstack([boxes, labels, crowd]))
        kept = rng.permutation(np.repeat(np.arange(count), 2))[: int(count * 1.5)]
        moved = boxes[kept] + rng.normal(0, 4, (len(kept), 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        # Few digits, so that scores tie across pictures.
        scores = rng.random((len(kept), 1)).round(1)
        swapped = np.where(rng.random((len(kept), 1)) < 0.8, labels[kept], 3 - labels[kept])
        found.append(np.hstack([moved, scores, swapped]))
    return found, wanted


def coco_oracle(found: list[Any], wanted: list[Any]) -> float:
    coco = pytest.importorskip("pycocotools.coco", reason="needs pip install pycocotools")
    cocoeval = pytest.importorskip("pycocotools.cocoeval", reason="needs pycocotools")

    def xywh(row: Any) -> list[float]:
        return [row[0], row[1], row[2] - row[0], row[3] - row[1]]

    annotations = [
        {"image_id": i + 1, "category_id": int(row[4]) + 1, "bbox": xywh(row),
         "area": float((row[2] - row[0]) * (row[3] - row[1])), "iscrowd": int(row[5])}
        for i, rows in enumerate(wanted) for row in rows
    ]  # fmt: skip
    results = [
        {"image_id": i + 1, "category_id": int(row[5]) + 1, "bbox": xywh(row), "score": row[4]}
        for i, rows in enumerate(found) for row in rows
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "images": [{"id": i + 1} for i in range(len(wanted))],
            "categories": [{"id": label + 1} for label in range(4)],
            "annotations": [{"id": n + 1, **item} for n, item in enumerate(annotations)],
        }
        truth.createIndex()
        evaluation = cocoeval.COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.maxDets = [1, 10, 100]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


@pytest.mark.parametrize("seed", range(8))
def test_map_is_that_of_pycocotools(seed: int) -> None:
    found, wanted = coco_scene(seed, pictures=30)
    metric = MeanAveragePrecision()

    metric.add(found, wanted)

    assert metric.value() == pytest.approx(coco_oracle(found, wanted), abs=1e-9)


def test_map_of_a_subset_is_that_of_the_subset_alone() -> None:
    found, wanted = coco_scene(3, pictures=20)
    metric, alone = MeanAveragePrecision(), MeanAveragePrecision()
    metric.add(found, wanted)
    alone.add(found[5:], wanted[5:])

    assert metric.value(np.array([0] * 5 + [1] * 15)) == pytest.approx(alone.value())


def test_map_of_pictures_without_labels_is_not_defined() -> None:
    metric = MeanAveragePrecision()

    metric.add([[[0, 0, 1, 1, 0.5, 0]]], [np.zeros((0, 5))])

    assert np.isnan(metric.value())


def test_options_follow_the_name() -> None:
    top, iou = pick_metric("topk:k=3"), pick_metric("miou:ignore=255,uncounted=10:11")

    assert isinstance(top, TopK)
    assert top.k == 3
    assert isinstance(iou, MeanIoU)
    assert (iou.ignore, iou.uncounted) == (255, (10, 11))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tpo1", "did you mean 'top1'"),
        ("topk:n=3", "no option 'n'; it has: k"),
        ("topk:k=three", "not a number"),
        ("no_such_module:f", "no metric no_such_module:f"),
        (":f", "no metric :f"),
        ("math:pi", "is a float"),
    ],
)
def test_a_mistyped_metric_says_what_was_expected(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        pick_metric(text)


def test_a_users_function_is_averaged_over_the_samples() -> None:
    metric = UserMetric(lambda outputs, label: float(outputs["y"].sum() == label))

    metric.add([{"y": np.array([1, 2])}, {"y": np.array([1, 1])}], [3, 3])

    assert metric.value() == 0.5


def test_an_interval_of_a_share_is_near_the_binomial_one() -> None:
    metric = Top1()
    right = np.random.default_rng(0).random(400) < 0.8
    metric.add(np.tile([0.0, 1.0], (400, 1)), right.astype(int))

    low, high = interval(metric, resamples=500)

    share = right.mean()
    half = 1.96 * (share * (1 - share) / 400) ** 0.5
    assert (low, high) == pytest.approx((share - half, share + half), abs=0.012)


def test_a_paired_interval_is_narrower_where_the_same_samples_are_hard() -> None:
    labels = (np.random.default_rng(0).random(200) < 0.7).astype(int)
    scores = np.tile([0.0, 1.0], (200, 1))
    one, other = Top1(), Top1()
    one.add(scores, labels)
    other.add(scores, np.where(np.arange(200) < 2, 1 - labels, labels))

    low, high = paired_interval(one, other)
    single = interval(one)

    assert high - low < (single[1] - single[0]) / 3


def test_a_paired_interval_needs_the_same_samples() -> None:
    one, other = Top1(), Top1()
    one.add(np.eye(2), [0, 1])
    other.add(np.eye(2)[:1], [0])

    with pytest.raises(UsageError, match="2 samples against 1"):
        paired_interval(one, other)
