"""Watch a camera or a video, and unlock for who is enrolled."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from edgekit.apps.app import Output
from edgekit.apps.face_unlock import arguments as given
from edgekit.apps.face_unlock.check import in_words
from edgekit.apps.face_unlock.lock import FRAMES, Lock
from edgekit.apps.face_unlock.recognise import Recogniser, View
from edgekit.apps.face_unlock.show import draw_view
from edgekit.apps.face_unlock.store import FaceStore
from edgekit.apps.vision.video import open_frames
from edgekit.apps.vision.window import Window, why_no_window
from edgekit.errors import UsageError

Frame = NDArray[np.uint8]

NOT_UNLOCKED = 1

EXAMPLE = """example:
  edgekit app face-unlock run --camera 0 --store people.json \\
      --detector yunet.edgekit --embedder mobileface.edgekit
  edgekit app face-unlock run --camera 0 --once --timeout 10 --store people.json … && open-door

q in the window, or Ctrl-C, ends it. With --once the exit status is 0 where somebody has
unlocked, else 1. --json prints a line for every frame."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    given.add_source(parser)
    parser.add_argument(
        "--frames", type=int, default=FRAMES, metavar="N",
        help=f"how many in a row must show the same person (default: {FRAMES})",
    )  # fmt: skip
    parser.add_argument("--once", action="store_true", help="end when somebody has unlocked")
    parser.add_argument("--timeout", type=float, metavar="S", help="end after so many seconds")
    parser.add_argument("--no-window", action="store_true", help="print lines only")
    given.add_store(parser)
    given.add_models(parser)
    given.add_json(parser, is_stream=True)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Watch until the end of the video, q, Ctrl-C, the time, or the first unlock."""
    source = given.source_of(arguments)
    lock = Lock(arguments.frames)
    if arguments.timeout is not None and not arguments.timeout > 0:
        raise UsageError(f"--timeout {arguments.timeout}; seconds above 0 are expected")
    with ExitStack() as stack:
        recogniser = stack.enter_context(given.recogniser_of(arguments))
        store = given.store_of(arguments, recogniser)
        frames = stack.enter_context(open_frames(source))
        window = None
        if not (arguments.json or arguments.no_window):
            reason = why_no_window()
            if reason:
                output.note(f"no window: {reason}")
            else:
                window = stack.enter_context(Window("EdgeKit face unlock"))
        watch = Watch(recogniser, store, lock, output, window)
        try:
            watch.follow(frames, once=arguments.once, timeout_s=arguments.timeout)
        except KeyboardInterrupt:  # how a person ends it; the sources are closed all the same
            output.note("stopped")
        output.event(watch.summary(), watch.summary_in_words())
    return NOT_UNLOCKED if arguments.once and not watch.unlocks else 0


@dataclass
class Watch:
    """One watching of a source.

    Args:
        recogniser: The open models.
        store: Who may unlock.
        lock: Its state.
        output: Where events go.
        window: Where frames are shown; None for nowhere.
    """

    recogniser: Recogniser
    store: FaceStore
    lock: Lock
    output: Output
    window: Window | None = None
    unlocks: int = 0
    _count: int = 0
    _said: str = ""
    _times_ms: list[Mapping[str, float]] = field(default_factory=list)

    def follow(
        self, frames: Iterator[Frame], *, once: bool = False, timeout_s: float | None = None
    ) -> None:
        """Look at the frames, one after the other.

        Args:
            frames: uint8, (height, width, 3), blue first.
            once: Whether to end at the first unlock.
            timeout_s: When to end; None for never.
        """
        start_s = time.monotonic()
        for frame in frames:
            view = self.recogniser.look(frame, self.store)
            event = self.lock.step(view.name if view.is_known else "")
            self._tell(view, event)
            if self.window is not None and self.window.show(self._draw(frame, view)):
                return
            if once and event == "unlocked":
                return
            if timeout_s is not None and time.monotonic() - start_s > timeout_s:
                return

    def summary(self) -> dict[str, object]:
        """Return what there was, JSON-ready."""
        return {
            "event": "end",
            "frames": self._count,
            "unlocks": self.unlocks,
            "median_ms": {name: round(value, 2) for name, value in self._medians().items()},
        }

    def summary_in_words(self) -> str:
        """Return the same as a line."""
        steps = ", ".join(f"{name} {value:.1f}" for name, value in self._medians().items())
        opened = "1 unlock" if self.unlocks == 1 else f"{self.unlocks} unlocks"
        return f"{self._count} frames, {opened}; median ms: {steps or 'none'}"

    def _tell(self, view: View, event: str) -> None:
        self._count += 1
        self.unlocks += event == "unlocked"
        # A recent past is enough for a median, and a camera runs for months.
        self._times_ms = [*self._times_ms[-999:], view.times_ms]
        words = in_words(view, self.recogniser.limits)
        # Without its figures, which change from frame to frame.
        kind, text = view.verdict.partition(":")[0], ""
        if event:
            who = f" for {self.lock.opened_by}" if self.lock.is_open else ""
            text = f"frame {self._count}: {event}{who}: {words}"
        elif kind != self._said:
            text = f"frame {self._count}: {words}"
        self._said = kind
        state = {"frame": self._count, "event": event or None, "unlocked": self.lock.opened_by}
        self.output.event({**state, **view.to_json()}, text)

    def _draw(self, frame: Frame, view: View) -> Frame:
        is_open = self.lock.is_open
        banner = f"unlocked: {self.lock.opened_by}" if is_open else f"locked: {view.verdict}"
        return draw_view(frame, view, banner=banner, is_open=is_open)

    def _medians(self) -> dict[str, float]:
        names = dict.fromkeys(name for times in self._times_ms for name in times)
        return {
            name: median(times[name] for times in self._times_ms if name in times) for name in names
        }
