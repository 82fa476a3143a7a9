"""Which TensorRT this is, and whether a range of releases holds it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgekit.errors import UsageError

EDITIONS = ("full", "lean", "dispatch", "rtx")
"""All of TensorRT; two runtimes without a builder; the one for desktop GPUs."""

_RTX_SPEAKS = (11,)
"""TensorRT-RTX counts its own releases; its interface is that of TensorRT 11."""
_CONDITION = re.compile(r"(>=|<=|==|!=|>|<)\s*(\d+(?:\.\d+)*)$")


@dataclass(frozen=True, order=True)
class Release:
    """A release of TensorRT.

    Args:
        numbers: Such as ``(10, 3, 0, 30)``.
        edition: One of ``EDITIONS``.
    """

    numbers: tuple[int, ...]
    edition: str = "full"

    @classmethod
    def parse(cls, text: str, *, edition: str | None = None) -> Release:
        """Read a version such as ``"10.3.0.30"`` or ``"rtx-1.7.1.116"``.

        Args:
            text: The version; what follows its numbers (``"10.0.0b6"``) is left out.
            edition: Overrides what the text says.

        Raises:
            UsageError: There is no number in it.
        """
        prefix, dash, rest = text.partition("-")
        known = bool(dash) and prefix in EDITIONS
        found = re.match(r"\d+(?:\.\d+)*", rest if known else text)
        if found is None:
            raise UsageError(f"{text!r} is no TensorRT version; one reads 10.3.0.30")
        numbers = tuple(int(part) for part in found[0].split("."))
        return cls(numbers, edition or (prefix if known else "full"))

    @property
    def major(self) -> int:
        """First number."""
        return self.numbers[0]

    @property
    def minor(self) -> int:
        """Second number."""
        return self.numbers[1] if len(self.numbers) > 1 else 0

    @property
    def speaks(self) -> tuple[int, ...]:
        """The release of full TensorRT whose interface and file formats it has."""
        return _RTX_SPEAKS if self.edition == "rtx" else self.numbers

    def in_range(self, text: str) -> bool:
        """Return whether a range such as ``">=10,<11"`` holds it; missing numbers are 0.

        Raises:
            UsageError: The range is malformed.
        """
        return all(self._meets(part.strip()) for part in text.split(","))

    def calibration_number(self) -> int:
        """Return the number that a calibration cache's first line has.

        8.5.2 is 8502 and 10.3.0 is 100300: NvInferVersion.h of each counts so.
        """
        major, minor, patch = (*self.numbers, 0, 0)[:3]
        return (
            major * 10000 + minor * 100 + patch
            if major >= 10
            else (major * 1000 + minor * 100 + patch)
        )

    def __str__(self) -> str:
        version = ".".join(map(str, self.numbers))
        return version if self.edition == "full" else f"{self.edition}-{version}"

    def _meets(self, condition: str) -> bool:
        found = _CONDITION.match(condition)
        if found is None:
            raise UsageError(f"{condition!r} is no range of releases; one reads '>=10,<11'")
        wanted = tuple(int(part) for part in found[2].split("."))
        size = max(len(wanted), len(self.speaks))
        ours, theirs = (numbers + (0,) * (size - len(numbers)) for numbers in (self.speaks, wanted))
        return {
            ">=": ours >= theirs,
            "<=": ours <= theirs,
            "==": ours[: len(wanted)] == wanted,
            "!=": ours[: len(wanted)] != wanted,
            ">": ours > theirs,
            "<": ours < theirs,
        }[found[1]]
