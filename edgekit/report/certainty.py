"""Whether two losses are told apart by the samples that they were measured on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edgekit.bundle import Contract, ContractFigure, Manifest

Interval = tuple[float, float]


@dataclass(frozen=True)
class Loss:
    """What one artifact loses against its float model.

    Args:
        lost: In the metric's own unit; below 0 is a gain.
        interval: Where that lies with 95 % confidence, in the same unit; None unknown.
        is_sure: Whether the promise holds up to the interval's upper end; None unknown.
    """

    lost: float
    interval: Interval | None
    is_sure: bool | None

    @property
    def is_unsure(self) -> bool:
        """Whether the promise may be broken on other samples of the kind."""
        return self.is_sure is False

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        interval = None if self.interval is None else list(self.interval)
        return {"lost": self.lost, "interval": interval, "is_sure": self.is_sure}


@dataclass(frozen=True)
class Certainty:
    """The losses of one artifact in two bundles, and what they allow to say.

    Args:
        before: In the older bundle.
        after: In the newer one.
        samples: What both were measured on, in words.
        more: By how much more is lost after than before, with 95 % confidence, in the metric's
            own unit; None unknown.
        why_unknown: Why ``more`` is None.
    """

    before: Loss
    after: Loss
    samples: str
    more: Interval | None
    why_unknown: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether both lose the same, so that there is nothing to tell apart."""
        return self.before.lost == self.after.lost

    @property
    def is_told_apart(self) -> bool | None:
        """Whether that is more, or less, than nothing; None where it is unknown."""
        return None if self.more is None else not self.more[0] <= 0 <= self.more[1]

    @property
    def in_words(self) -> str:
        """A remark on the difference; empty where it is unknown, or there is none."""
        if self.more is None or self.is_equal:
            return ""
        apart = "told apart" if self.is_told_apart else "not told apart"
        low, high = (f"{end:.2g}" for end in self.more)
        return f"{apart} on {self.samples}: the loss grew by {low} to {high} (95 %)"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "samples": self.samples,
            "more_lost": None if self.more is None else list(self.more),
            "told_apart": self.is_told_apart,
            "why_unknown": self.why_unknown,
        }


def certainty(
    before: Manifest, after: Manifest, figures: tuple[ContractFigure, ContractFigure]
) -> Certainty | None:
    """Return how sure the difference of two figures of one metric is; None without contracts."""
    if before.contract is None or after.contract is None:
        return None
    one = _loss(before.contract, figures[0])
    other = _loss(after.contract, figures[1])
    why = _why_unknown(before, after, one, other)
    return Certainty(
        one,
        other,
        samples=after.contract.samples,
        more=None if why else _more(one, other),
        why_unknown=why,
    )


def _loss(contract: Contract, figure: ContractFigure) -> Loss:
    unit = abs(contract.baseline) if contract.is_relative else 1.0
    ends = figure.interval
    if ends is None or not all(map(math.isfinite, ends)):
        return Loss(figure.lost * unit, None, None)
    return Loss(figure.lost * unit, (ends[0] * unit, ends[1] * unit), contract.is_sure(figure))


def _why_unknown(before: Manifest, after: Manifest, one: Loss, other: Loss) -> str:
    """Return why the intervals say nothing of the difference; empty where they do.

    They are of the losses against the float model: only where that is the same model on the
    same samples is a difference of the values one of the losses.
    """
    if one.interval is None or other.interval is None:
        return f"the bundle {'before' if one.interval is None else 'after'} has no interval"
    if before.source.sha256 != after.source.sha256:
        return "the source models differ"
    if before.contract and after.contract and before.contract.samples != after.contract.samples:
        return "the samples differ"
    return ""


def _more(one: Loss, other: Loss) -> Interval | None:
    """Return the interval of ``other - one``.

    What the two share, being measured on the same samples, is counted twice, so that it is
    rather too wide than too narrow.

    Source: Zou & Donner 2008, "Construction of confidence limits about effect measures", the
    difference of two estimates by the method of variance estimates recovery (MOVER).
    """
    if one.interval is None or other.interval is None:
        return None
    difference = other.lost - one.lost
    return (
        difference - math.hypot(other.lost - other.interval[0], one.interval[1] - one.lost),
        difference + math.hypot(other.interval[1] - other.lost, one.lost - one.interval[0]),
    )
