"""The time that a search may take, and what its measurements take of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median

from edgekit.calibration.contract import Recipe

_UNTRIED = 2.0
"""How much longer a fix takes that was not tried yet than those before it, which are cheaper:
adaptive rounding took 1.5 to 2 times what bias correction took, on three networks."""


class Budget:
    """Seconds from now on.

    Args:
        limit_s: How many; None is no limit.
        clock: Seconds, for tests.
    """

    def __init__(
        self, limit_s: float | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit_s = math.inf if limit_s is None else limit_s
        self.clock = clock
        self._start = clock()

    @property
    def left_s(self) -> float:
        """What is left; below 0 it was exceeded."""
        return self.limit_s - (self.clock() - self._start)

    def fits(self, seconds: float) -> bool:
        """Whether something that takes so long ends in time."""
        return self.left_s > 0 and seconds <= self.left_s

    def is_half_spent(self, *, beside_s: float = 0.0) -> bool:
        """Whether less than half is left of all but ``beside_s``, which is spoken for."""
        return self.left_s - beside_s < (self.limit_s - beside_s) / 2


class Pace:
    """What measurements take, as far as those tell that were made.

    The first artifact that is made with a method and fixes pays for what the others share, such
    as corrected biases; a recipe that only has other nodes in float finds it there.
    """

    def __init__(self) -> None:
        self._first: dict[str, list[float]] = {}
        self._again: dict[str, list[float]] = {}
        self._made: set[tuple[str, str, tuple[str, ...]]] = set()

    def add(self, recipe: Recipe, artifact: str, seconds: float) -> None:
        """Take in what an artifact took by a recipe."""
        made = (artifact, recipe.method, recipe.fixes)
        (self._again if made in self._made else self._first).setdefault(artifact, []).append(
            seconds
        )
        self._made.add(made)

    def mean_s(self, artifact: str) -> float:
        """Return what the artifact took on average; 1 where it was not measured."""
        times = self._first.get(artifact, []) + self._again.get(artifact, [])
        return sum(times) / len(times) if times else 1.0

    def expect_s(self, recipe: Recipe, artifact: str) -> float:
        """Return what it will take; 0 where nothing is known."""
        known = {name for name, *shared in self._made if shared == [recipe.method, recipe.fixes]}
        first, again = self._first.get(artifact, []), self._again.get(artifact, [])
        if artifact in known:
            return median(again) if again else min(first)
        if known:
            return max(first, default=0.0)
        tried = {fix for _, _, fixes in self._made for fix in fixes}
        longer = _UNTRIED if set(recipe.fixes) - tried else 1.0
        return longer * max((max(times) for times in self._first.values()), default=0.0)
