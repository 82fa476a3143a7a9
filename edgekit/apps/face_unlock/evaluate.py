"""Measure on one's own pictures how often strangers pass and friends do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.apps.face_unlock.recognise import Recogniser
from edgekit.apps.vision.images import PICTURES, read_frame
from edgekit.errors import UsageError
from edgekit.metrics.interval import interval
from edgekit.metrics.verification import EqualErrorRate

Progress = Callable[[str], None]
Rates = NDArray[np.float64]

FALSE_ACCEPTS = (1e-2, 1e-3, 1e-4)


@dataclass(frozen=True)
class Point:
    """One threshold.

    Args:
        threshold: A cosine.
        false_accepts: Share of the pairs of two persons at or above it.
        false_rejects: Share of the pairs of one person below it.
    """

    threshold: float
    false_accepts: float
    false_rejects: float

    def to_json(self) -> dict[str, float]:
        """Return a JSON-ready dict."""
        return {
            "threshold": round(self.threshold, 4),
            "false_accept_rate": self.false_accepts,
            "false_reject_rate": self.false_rejects,
        }


@dataclass(frozen=True)
class Evaluation:
    """What was measured over all pairs of pictures.

    Args:
        pictures: How many there were.
        refused: How many of them were not used, by reason.
        people: How many persons the others show.
        same: Pairs of one person.
        different: Pairs of two.
        equal_error: The rate at which false accepts and false rejects are as many.
        equal_error_95: Its 95 % interval, drawn over pictures.
        at: The threshold that was asked for.
        by_false_accepts: The lowest threshold that keeps false accepts at or below each
            rate; where there are too few pairs to show a rate, it is left out.
    """

    pictures: int
    refused: Mapping[str, int]
    people: int
    same: int
    different: int
    equal_error: float
    equal_error_95: tuple[float, float]
    at: Point
    by_false_accepts: Mapping[float, Point]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "pictures": self.pictures,
            "refused": dict(self.refused),
            "people": self.people,
            "pairs": {"same": self.same, "different": self.different},
            "equal_error_rate": self.equal_error,
            "equal_error_rate_95": list(self.equal_error_95),
            "at": self.at.to_json(),
            "by_false_accept_rate": {
                f"{rate:g}": point.to_json() for rate, point in self.by_false_accepts.items()
            },
        }


def evaluate_pairs(
    recogniser: Recogniser, folder: Path, *, progress: Progress | None = None
) -> Evaluation:
    """Return how well persons are told apart, from the photo to the cosine.

    Args:
        recogniser: The open models; its threshold is one of those measured.
        folder: With a folder of pictures for each person.
        progress: Is told what is being read.

    Raises:
        UsageError: There are not two persons, one of them twice.
    """
    vectors: list[NDArray[np.float32]] = []
    names: list[str] = []
    refused = Counter[str]()
    people = people_in(folder)
    total = sum(map(len, people.values()))
    for name, paths in people.items():
        if progress is not None:
            progress(f"{name}, after {len(names)} of {total} pictures")
        for path in paths:
            view = recogniser.look(read_frame(path))
            if view.problem or view.vector is None:
                refused[view.kind_of_problem] += 1
                continue
            vectors.append(view.vector)
            names.append(name)
    return _measured(vectors, names, total, refused, recogniser.limits.threshold)


def _measured(
    vectors: Sequence[NDArray[np.float32]],
    names: Sequence[str],
    total: int,
    refused: Mapping[str, int],
    threshold: float,
) -> Evaluation:
    if not vectors:
        raise UsageError(f"none of {total} pictures was fit: {dict(refused)}")
    metric = EqualErrorRate()
    metric.add(list(vectors), list(names))
    false, true = metric.rates()
    counts = Counter(names)
    every = len(names) * (len(names) - 1) // 2
    same = sum(count * (count - 1) // 2 for count in counts.values())
    points = {}
    for rate in FALSE_ACCEPTS:
        passing = int(np.searchsorted(false, rate, side="right"))
        if passing and rate * (every - same) >= 1:
            points[rate] = _point(false, true, passing)
    return Evaluation(
        pictures=total,
        refused=dict(refused),
        people=len(counts),
        same=same,
        different=every - same,
        equal_error=metric.value(),
        equal_error_95=interval(metric),
        at=_point(false, true, round((1 - threshold) / 2 * len(false))),
        by_false_accepts=points,
    )


def _point(false: Rates, true: Rates, passing: int) -> Point:
    """Return the rates where the first ``passing`` steps, from 1 down to -1, are accepted."""
    if not passing:
        return Point(1.0, 0.0, 1.0)
    threshold = 1 - 2 * passing / len(false)
    return Point(threshold, float(false[passing - 1]), float(1 - true[passing - 1]))


@dataclass(frozen=True)
class Attacks:
    """What the liveness models say of live faces and of pictures of faces.

    Args:
        live: Chances of the live ones, rising.
        spoof: Of the others.
        refused: How many pictures were not used, by reason.
        threshold: From which a face is taken to be live.
    """

    live: tuple[float, ...]
    spoof: tuple[float, ...]
    refused: Mapping[str, int]
    threshold: float

    @property
    def attacks_accepted(self) -> float:
        """Share of the attacks that are taken to be live (APCER, ISO/IEC 30107-3)."""
        return float(np.mean(np.array(self.spoof) >= self.threshold))

    @property
    def live_refused(self) -> float:
        """Share of the live faces that are not (BPCER, ISO/IEC 30107-3)."""
        return float(np.mean(np.array(self.live) < self.threshold))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "threshold": self.threshold,
            "live": len(self.live),
            "spoof": len(self.spoof),
            "refused": dict(self.refused),
            "attacks_accepted": self.attacks_accepted,
            "live_refused": self.live_refused,
            "lowest_live": self.live[0],
            "highest_spoof": self.spoof[-1],
        }


def evaluate_attacks(
    recogniser: Recogniser, live: Path, spoof: Path, *, progress: Progress | None = None
) -> Attacks:
    """Return what the liveness models say of two folders of pictures.

    Args:
        recogniser: The open models, liveness among them.
        live: Folder of pictures of faces.
        spoof: Folder of pictures of pictures of faces.
        progress: Is told what is being read.

    Raises:
        UsageError: There is no liveness model, or no usable picture in a folder.
    """
    if not recogniser.liveness:
        raise UsageError("--live and --spoof measure the liveness models; give --liveness")
    refused = Counter[str]()
    chances = []
    for folder in (live, spoof):
        found = []
        if progress is not None:
            progress(f"pictures in {folder.name}")
        for path in _pictures_of(folder):
            view = recogniser.look(read_frame(path))
            if view.live is None:
                refused[view.kind_of_problem] += 1
            else:
                found.append(view.live)
        if not found:
            raise UsageError(f"{folder} holds no picture of one face; {dict(refused)}")
        chances.append(tuple(sorted(found)))
    return Attacks(chances[0], chances[1], dict(refused), recogniser.limits.live)


def people_in(folder: Path) -> dict[str, list[Path]]:
    """Return the pictures of each person, by the names of the folders.

    Raises:
        UsageError: There are not two persons.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; expected one with a folder for each person")
    people = {
        entry.name: list(_pictures_of(entry))
        for entry in sorted(folder.iterdir())
        if entry.is_dir()
    }
    people = {name: paths for name, paths in people.items() if paths}
    if len(people) < 2:
        raise UsageError(
            f"{folder} has pictures of {len(people)} persons; expected at least 2 folders of "
            "pictures, one for each person"
        )
    return people


def _pictures_of(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder of pictures")
    yield from sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
