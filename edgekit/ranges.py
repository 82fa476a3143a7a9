"""What calibration found: the range of every tensor, once, for all targets.

The file is JSON that a person can read. Targets quantize from it each in their own scheme,
so that one pass over the samples serves them all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekit.errors import CalibrationError

SCHEMA_VERSION = 1
MAX_FILE_SIZE = 256 * 1024 * 1024
# A run of empty bins is a few letters: without limits a small file would fill the memory.
_MAX_BINS = 1 << 16
_MAX_ALL_BINS = 1 << 25

# What reading any JSON as a ranges file can raise.
_MALFORMED = (
    OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip


@dataclass(frozen=True)
class Histogram:
    """How often values fell into equal bins.

    Args:
        low: Left edge of the first bin, in the tensor's own units.
        high: Right edge of the last bin; high > low.
        counts: One per bin.
    """

    low: float
    high: float
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise CalibrationError(f"a histogram over [{self.low}, {self.high}] is empty")
        if not self.counts or min(self.counts) < 0:
            raise CalibrationError("a histogram needs at least one bin and no negative count")


@dataclass(frozen=True)
class Statistics:
    """What one streaming pass saw of a tensor.

    Args:
        count: Elements seen.
        minimum: Smallest of them.
        maximum: Largest.
        mean_minimum: Mean over the samples of each sample's smallest.
        mean_maximum: Likewise of the largest.
        histogram: Of all elements.
    """

    count: int
    minimum: float
    maximum: float
    mean_minimum: float
    mean_maximum: float
    histogram: Histogram


@dataclass(frozen=True)
class Range:
    """The range that a tensor's integers will cover.

    Args:
        low: Lower end; low <= 0, so that 0 has an exact code.
        high: Upper end; high >= 0.
        method: How it was chosen: ``"minmax"``, ``"entropy"``...
    """

    low: float
    high: float
    method: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise CalibrationError(f"range [{self.low}, {self.high}] is empty or not finite")
        object.__setattr__(self, "low", min(self.low, 0.0))
        object.__setattr__(self, "high", max(self.high, 0.0))

    def union(self, other: Range) -> Range:
        """Return the smallest range that covers both."""
        return Range(min(self.low, other.low), max(self.high, other.high), self.method)


@dataclass(frozen=True)
class Ranges:
    """The ranges of a model's tensors.

    Args:
        model: SHA-256 of the source model, hex.
        samples: How many samples were seen.
        fingerprint: SHA-256 over the samples' preprocessed bytes, hex.
        ranges: By ONNX tensor name.
        statistics: What they were chosen from, by tensor name; may be empty.
    """

    model: str
    samples: int
    fingerprint: str
    ranges: Mapping[str, Range]
    statistics: Mapping[str, Statistics] = field(default_factory=dict)

    def with_ranges(self, ranges: Mapping[str, Range]) -> Ranges:
        """Return the same calibration with other choices."""
        return replace(self, ranges=ranges)

    def save(self, path: Path) -> None:
        """Write the file beside its final name, then rename it."""
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Ranges:
        """Read a file.

        Raises:
            CalibrationError: It is missing, too large, malformed or of a newer schema.
        """
        try:
            if path.stat().st_size > MAX_FILE_SIZE:
                raise CalibrationError(f"{path} is larger than {MAX_FILE_SIZE} bytes")
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except CalibrationError:
            raise
        except _MALFORMED as error:
            raise CalibrationError(f"{path} is not a ranges file: {error!r}") from error

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        tensors: dict[str, Any] = {}
        for name, chosen in self.ranges.items():
            entry: dict[str, Any] = {
                "low": chosen.low, "high": chosen.high, "method": chosen.method,
            }  # fmt: skip
            seen = self.statistics.get(name)
            if seen is not None:
                entry["seen"] = {
                    "count": seen.count,
                    "minimum": seen.minimum,
                    "maximum": seen.maximum,
                    "mean_minimum": seen.mean_minimum,
                    "mean_maximum": seen.mean_maximum,
                    "histogram": {
                        "low": seen.histogram.low,
                        "high": seen.histogram.high,
                        "counts": _squeeze(seen.histogram.counts),
                    },
                }
            tensors[name] = entry
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "samples": self.samples,
            "fingerprint": self.fingerprint,
            "tensors": tensors,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Ranges:
        """Read what ``to_json`` wrote.

        Raises:
            CalibrationError: The schema is newer, or a range is unusable.
        """
        version = int(data["schema_version"])
        if version > SCHEMA_VERSION:
            raise CalibrationError(
                f"the ranges have schema {version}; this EdgeKit reads up to {SCHEMA_VERSION}; "
                "upgrade edgekit or calibrate again"
            )
        ranges, statistics, bins = {}, {}, 0
        for name, entry in data["tensors"].items():
            ranges[name] = Range(float(entry["low"]), float(entry["high"]), str(entry["method"]))
            if "seen" in entry:
                statistics[name] = _read_statistics(entry["seen"])
                bins += len(statistics[name].histogram.counts)
            if bins > _MAX_ALL_BINS:
                raise CalibrationError(f"the ranges have over {_MAX_ALL_BINS} bins together")
        return cls(
            model=str(data["model"]),
            samples=int(data["samples"]),
            fingerprint=str(data["fingerprint"]),
            ranges=ranges,
            statistics=statistics,
        )


def _read_statistics(seen: dict[str, Any]) -> Statistics:
    histogram = seen["histogram"]
    return Statistics(
        count=int(seen["count"]),
        minimum=float(seen["minimum"]),
        maximum=float(seen["maximum"]),
        mean_minimum=float(seen["mean_minimum"]),
        mean_maximum=float(seen["mean_maximum"]),
        histogram=Histogram(
            float(histogram["low"]), float(histogram["high"]), _unsqueeze(histogram["counts"])
        ),
    )


def _squeeze(counts: tuple[int, ...]) -> str:
    """Return counts as text, runs of zeros as ``z`` and their length: ``"5 z120 3"``."""
    words: list[str] = []
    zeros = 0
    for count in counts:
        if count == 0:
            zeros += 1
            continue
        if zeros:
            words.append(f"z{zeros}")
            zeros = 0
        words.append(str(count))
    if zeros:
        words.append(f"z{zeros}")
    return " ".join(words)


def _unsqueeze(text: str) -> tuple[int, ...]:
    counts: list[int] = []
    for word in text.split():
        if word.startswith("z"):
            counts += [0] * min(int(word[1:]), _MAX_BINS + 1)
        else:
            counts.append(int(word))
        if len(counts) > _MAX_BINS:
            raise ValueError(f"a histogram of over {_MAX_BINS} bins")
    return tuple(counts)
