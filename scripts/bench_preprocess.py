"""Time ``Preprocess.apply`` against the same steps in plain numpy, in one run.

    python scripts/bench_preprocess.py

A 1280 x 720 frame, letterboxed to 640 x 640, ImageNet's mean and std, median of 100 calls
after warm-up; both resize with OpenCV, so the difference is colour, formula and layout.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np

from edgekit.preprocess import Preprocess
from edgekit.tensor import DType, TensorSpec

CALLS = 100
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def plain(frame: np.ndarray) -> np.ndarray:
    """Return the input as most examples on the web make it."""
    small = cv2.resize(frame, (640, 360))
    padded = cv2.copyMakeBorder(small, 140, 140, 0, 0, cv2.BORDER_CONSTANT, value=(114,) * 3)
    rgb = padded[:, :, ::-1].astype(np.float32) / 255
    return np.ascontiguousarray(((rgb - MEAN) / STD).transpose(2, 0, 1)[None])


def median_ms(call: Callable[[], object]) -> float:
    """Return the median time of a call, in milliseconds."""
    times = []
    for index in range(CALLS + 10):
        started = time.perf_counter()
        call()
        if index >= 10:
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def main() -> None:
    """Print both times and their ratio."""
    frame = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    preprocess = Preprocess.parse(
        "letterbox,rgb,pad=114,scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"
    )
    spec = TensorSpec("image", DType.FLOAT32, (1, 3, 640, 640))
    buffer = preprocess.apply(frame, spec)
    difference = float(np.abs(buffer - plain(frame)).max())
    slow = median_ms(lambda: plain(frame))
    fast = median_ms(lambda: preprocess.apply(frame, spec, out=buffer))
    print(f"plain numpy {slow:.2f} ms, apply {fast:.2f} ms: {slow / fast:.1f} times")
    print(f"largest difference {difference:.1e}")


if __name__ == "__main__":
    main()
