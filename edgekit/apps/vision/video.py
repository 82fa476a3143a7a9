"""Frames from a camera, a Jetson's CSI camera, or a video file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError, MissingDependencyError, UsageError

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """Where frames come from; one of the three.

    Args:
        camera: Number of a camera that the system knows: 0 is /dev/video0.
        csi: Number of a Jetson's CSI sensor, read through GStreamer.
        video: A video file.

    Raises:
        UsageError: None or several are given, or a number is negative.
    """

    camera: int | None = None
    csi: int | None = None
    video: Path | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.camera, self.csi, self.video) if value is not None]
        if len(given) != 1:
            raise UsageError(
                f"{len(given)} sources of frames are given; one of --camera, --csi and --video is "
                "needed"
            )
        if isinstance(given[0], int) and given[0] < 0:
            raise UsageError(f"camera {given[0]}; cameras are numbered from 0")
        if self.video is not None and not self.video.is_file():
            raise UsageError(f"{self.video} is not a file; check the path of the video")

    @property
    def is_live(self) -> bool:
        """Whether it has no end of its own."""
        return self.video is None

    def __str__(self) -> str:
        if self.video is not None:
            return self.video.name
        return f"camera {self.camera}" if self.csi is None else f"CSI camera {self.csi}"


def csi_pipeline(
    sensor: int, *, size_wh: tuple[int, int] = (1280, 720), fps: int = 30, flip: int = 0
) -> str:
    """Return the GStreamer pipeline from a Jetson's CSI camera to OpenCV.

    Args:
        sensor: Its number, from 0.
        size_wh: Width and height, a mode of the sensor.
        fps: Frames per second, likewise.
        flip: As nvvidconv's flip-method: 0 as it is, 2 turned by 180 degrees.

    Source: NVIDIA, "Accelerated GStreamer", Jetson Linux developer guide. The frames leave
        NVMM memory before appsink, which cannot map it, and appsink keeps the newest only.
    """
    width, height = size_wh
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! "
        f"video/x-raw(memory:NVMM), width={width}, height={height}, format=NV12, "
        f"framerate={fps}/1 ! "
        f"nvvidconv flip-method={flip} ! video/x-raw, format=BGRx ! "
        "videoconvert ! video/x-raw, format=BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
    )


@contextmanager
def open_frames(source: Source) -> Iterator[Iterator[Frame]]:
    """Open the source; its device is free again when the block is left.

    Yields:
        Frames: uint8, (height, width, 3), blue first, as they come.

    Raises:
        InputError: It cannot be opened, or a camera stops giving frames.
        MissingDependencyError: A CSI camera is asked for, and this OpenCV has no GStreamer.
    """
    capture = _open(source)
    try:
        yield _frames(capture, source)
    finally:
        capture.release()


def _frames(capture: Any, source: Source) -> Iterator[Frame]:
    count = 0
    while True:
        is_read, frame = capture.read()
        if not is_read:
            break
        count += 1
        yield frame
    if source.is_live or not count:
        raise InputError(f"{source} gave no frame after {count}; is it unplugged, or in use?")


def _open(source: Source) -> Any:
    if source.csi is not None:
        if not has_gstreamer():
            raise MissingDependencyError(
                f"OpenCV {cv2.__version__} is built without GStreamer, as pip's wheels are, so it "
                "cannot read a CSI camera; on a Jetson use JetPack's (libopencv-python) in an "
                "environment made with --system-site-packages: pip uninstall "
                "opencv-python-headless"
            )
        capture = cv2.VideoCapture(csi_pipeline(source.csi), cv2.CAP_GSTREAMER)
    elif source.camera is not None:
        with _without_warnings():
            capture = cv2.VideoCapture(source.camera)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one that has waited
    else:
        capture = cv2.VideoCapture(str(source.video))
    if not capture.isOpened():
        capture.release()
        raise InputError(f"{source} cannot be opened; {_ADVICE[source.is_live]}")
    return capture


_ADVICE = {
    True: "is it plugged in, free, and may you read it (group video)?",
    False: "expected a video that OpenCV can read, such as .mp4 or .avi",
}


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep OpenCV from telling of each way to a camera that it has tried."""
    log = getattr(getattr(cv2, "utils", None), "logging", None)
    if log is None:
        yield
        return
    before = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        log.setLogLevel(before)


def has_gstreamer() -> bool:
    """Return whether this OpenCV was built with GStreamer."""
    return bool(re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()))
