"""A lock that opens to several frames which agree, and closes when its person has gone."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.errors import UsageError

FRAMES = 3


@dataclass
class Lock:
    """The state between frames.

    One frame may be mistaken: N independent ones that agree are so far less often. Frames
    of one moment are not independent, so the gain is less than the power of N.

    Args:
        frames: How many in a row must show the same person to open, and how many in a row
            must not show that person to close.

    Raises:
        UsageError: ``frames`` is below 1.
    """

    frames: int = FRAMES
    opened_by: str = ""
    _seen: str = ""
    _count: int = 0

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise UsageError(f"{self.frames} frames; at least 1 must agree")

    @property
    def is_open(self) -> bool:
        """Whether somebody has opened it and is still there."""
        return bool(self.opened_by)

    def step(self, name: str) -> str:
        """Take what one frame shows; return ``"unlocked"`` or ``"locked"`` where that changes.

        Args:
            name: Of the person that is known in it; ``""`` for nobody.
        """
        # Open, only "it is still that person" matters; closed, who it is.
        seen = "" if self.is_open and name != self.opened_by else name
        self._count = self._count + 1 if seen == self._seen else 1
        self._seen = seen
        if self._count < self.frames or seen == self.opened_by:
            return ""
        self.opened_by, self._count = ("", 0) if self.is_open else (seen, 0)
        return "unlocked" if self.opened_by else "locked"
