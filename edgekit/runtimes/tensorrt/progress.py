"""How far a build is, from the nested phases that TensorRT 10 and later tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Tell = Callable[[int], None]
"""Called with the whole build's percentage, when it grows."""


class Progress:
    """Adds nested phases up to one percentage that never falls.

    Args:
        tell: Told when it grows.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._phases: dict[str, tuple[str | None, int]] = {}
        self._done: dict[str, int] = {}
        self._last = -1

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """Begin a phase of so many steps within another, or at the top."""
        self._phases[phase] = (parent, max(steps, 1))
        self._done[phase] = 0
        self._say(phase)

    def step(self, phase: str, step: int) -> None:
        """Count a step, numbered from 0."""
        if phase in self._phases:
            self._done[phase] = step + 1
            self._say(phase)

    def finish(self, phase: str) -> None:
        """End a phase."""
        self._phases.pop(phase, None)
        self._done.pop(phase, None)

    def _say(self, phase: str) -> None:
        percent = int(100 * min(self._share(phase), 1.0))
        if percent > self._last:
            self._last = percent
            self._tell(percent)

    def _share(self, phase: str | None) -> float:
        """Return the done part of the outermost phase, counting the open one's part of it."""
        share = 0.0
        while phase is not None and phase in self._phases:
            parent, steps = self._phases[phase]
            share = min((self._done[phase] + share) / steps, 1.0)
            phase = parent
        return share


def monitor_methods(tell: Tell) -> dict[str, Callable[..., Any]]:
    """Return the methods of the vendor's ``IProgressMonitor`` over a ``Progress``."""
    progress = Progress(tell)

    def phase_start(_self: Any, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        progress.start(phase_name, parent_phase, num_steps)

    def step_complete(_self: Any, phase_name: str, step: int) -> bool:
        progress.step(phase_name, step)
        return True  # False would cancel the build

    def phase_finish(_self: Any, phase_name: str) -> None:
        progress.finish(phase_name)

    return {
        "phase_start": phase_start,
        "step_complete": step_complete,
        "phase_finish": phase_finish,
    }
