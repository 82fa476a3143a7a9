"""How good a model is, and how far one tensor is from another: numpy in, float out.

``METRICS`` are the task metrics: accumulators that take one batch after another and keep
little. To add one: a subclass of ``Metric`` in a file here, one line in ``METRICS``, hand-made
cases in ``tests/test_metrics_task.py``. ``pick_metric`` also takes a user's own
``module:name``. ``tensors`` compares two tensors at once.
"""

from __future__ import annotations

from edgekit.metrics.tensors import (
    cosine,
    max_abs_error,
    relative_error,
    sqnr_db,
    top1_agreement,
)
from edgekit.registry import Entry

_HERE = "edgekit.metrics"

METRICS: dict[str, Entry] = {
    "top1": Entry(
        f"{_HERE}.classification:Top1", summary="share of samples whose best class is right"
    ),
    "topk": Entry(
        f"{_HERE}.classification:TopK", summary="share with the right class among the best k"
    ),
    "map": Entry(
        f"{_HERE}.detection:MeanAveragePrecision", summary="COCO's mAP at IoU 0.5 to 0.95"
    ),
    "miou": Entry(
        f"{_HERE}.segmentation:MeanIoU", summary="mean over the classes of intersection over union"
    ),
    "eer": Entry(
        f"{_HERE}.verification:EqualErrorRate",
        summary="where as many strangers pass as right persons fail",
    ),
    "tar": Entry(
        f"{_HERE}.verification:TrueAcceptRate",
        summary="share of right persons who pass where few strangers do",
    ),
    "cosine": Entry(f"{_HERE}.fidelity:MeanCosine", summary="mean cosine to the float outputs"),
    "psnr": Entry(f"{_HERE}.fidelity:MeanPsnr", summary="mean peak signal-to-noise ratio in dB"),
}

__all__ = [
    "METRICS",
    "cosine",
    "max_abs_error",
    "relative_error",
    "sqnr_db",
    "top1_agreement",
]
