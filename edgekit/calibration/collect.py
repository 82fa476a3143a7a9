"""One pass over the samples: every tapped tensor is counted, nothing is kept of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from edgekit.calibration.count import Counter
from edgekit.calibration.fingerprint import chained, sample_digest
from edgekit.calibration.state import Pass
from edgekit.calibration.tally import Tallies
from edgekit.errors import CalibrationError
from edgekit.graph import Array
from edgekit.ranges import Statistics
from edgekit.signals import signals_wait

logger = logging.getLogger(__name__)

Tap = Callable[[Mapping[str, Array]], Iterable[tuple[str, Array]]]
"""A model's inputs by name to its activations, one after the other: a large model is run in
parts, so that not all are there at once. An array may change when the tap is called again."""

Counted = Callable[[int], None]
"""Told how many samples are done."""

SAVE_EVERY_S = 10.0


class SampleSource(Protocol):
    """What ``collect`` reads: samples with names, in the same order every time."""

    def items(self) -> Iterator[tuple[str, dict[str, Array]]]:
        """Yield each sample's name and its inputs by name."""
        ...

    @property
    def expected(self) -> int | None:
        """How many there will be, where that is known."""
        ...


@dataclass(frozen=True)
class Collected:
    """What a pass saw.

    Args:
        samples: How many.
        fingerprint: SHA-256 chain over their preprocessed bytes, hex.
        statistics: By tensor name; a tensor without elements is left out.
        earlier: The same after ``earlier_samples`` of the samples, about half of them.
        earlier_samples: How many those are; 0 where there were too few to tell.
        copies: How many samples are byte for byte another one of them.
    """

    samples: int
    fingerprint: str
    statistics: Mapping[str, Statistics]
    earlier: Mapping[str, Statistics]
    earlier_samples: int
    copies: int


def collect(
    tap: Tap,
    samples: SampleSource,
    *,
    names: Sequence[str],
    joins: Mapping[str, Sequence[str]] | None = None,
    model: str = "",
    progress: Counted | None = None,
    resume: Path | None = None,
    save_every_s: float = SAVE_EVERY_S,
) -> Collected:
    """Return the statistics of every tensor over all samples.

    The memory does not grow with the number of samples (but for 64 bytes each, to tell
    copies), and the result does not depend on whether the pass was stopped in between.

    Args:
        tap: Runs the float model and yields its activations.
        samples: The user's data, preprocessed.
        names: Tensors to count; the tap may yield others too.
        joins: Those of them that the tap leaves out, with the others that together hold their
            values, each as often as it is named.
        model: SHA-256 of the model, so that a state of another one is refused.
        progress: Told how many samples are done.
        resume: File that keeps the state of the pass: continued where it is there, written
            when the pass is stopped (by Ctrl-C, SIGTERM or an error), removed at the end.
        save_every_s: Seconds between two writes of it in case the process is killed.

    Raises:
        CalibrationError: There is no sample; an activation is NaN or infinite; or the state
            belongs to other samples or to another model.
    """
    seen = _begin(resume, model=model, names=names)
    known, number, fingerprint = seen.samples, 0, ""
    snapshots, counter = _Snapshots(samples.expected), Counter(names, joins)
    with _Keeper(resume, seen, every_s=save_every_s) as keeper:
        for number, (name, sample) in enumerate(samples.items(), 1):
            digest = sample_digest(sample)
            fingerprint = chained(fingerprint, digest)
            if number == known:
                _check_same(fingerprint, seen, resume)
            if number <= known:
                continue
            counted = counter.count(tap(sample), seen.tallies, origin=name)
            # All tensors of a sample or none: the state can be saved at any moment.
            with signals_wait():
                seen.add(
                    counted,
                    digest=digest,
                    fingerprint=fingerprint,
                    keeps_earlier=snapshots.is_due(number),
                )
            keeper.save_if_due()
            if progress is not None:
                progress(number)
        if number < known:
            _check_same(fingerprint, seen, resume)
        if number == 0:
            raise CalibrationError("there are no samples; give some of the data the model will see")
    return _finished(seen, counter.joins.parts)


class _Keeper:
    """Saves a pass now and then, and when it is stopped; a context."""

    def __init__(self, path: Path | None, seen: Pass, *, every_s: float) -> None:
        self._path, self._seen, self._every_s = path, seen, every_s
        self._saved, self._saved_s = seen.samples, time.monotonic()

    def save_if_due(self) -> None:
        if self._path is not None and time.monotonic() - self._saved_s >= self._every_s:
            self._save(self._path)

    def _save(self, path: Path) -> None:
        with signals_wait():
            self._seen.save(path)
        self._saved, self._saved_s = self._seen.samples, time.monotonic()

    def __enter__(self) -> _Keeper:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._path is None:
            return
        if kind is None:
            Pass.remove(self._path)
        elif self._seen.samples > self._saved:
            try:
                self._save(self._path)
            except OSError as failure:
                # What stopped the pass has to be told, not this.
                logger.warning("the state could not be saved: %s", failure)


class _Snapshots:
    """When to keep the tallies for a comparison with the end: at half, as far as known."""

    def __init__(self, expected: int | None) -> None:
        self._half = None if expected is None else expected // 2

    def is_due(self, number: int) -> bool:
        if self._half is not None:
            return number == self._half
        # The last power of two before the end lies between a half and all of it.
        return number & (number - 1) == 0


def _begin(resume: Path | None, *, model: str, names: Sequence[str]) -> Pass:
    if resume is not None and resume.exists():
        return Pass.load(resume, model=model, names=names)
    return Pass(model, Tallies(names))


def _check_same(fingerprint: str, seen: Pass, resume: Path | None) -> None:
    if fingerprint != seen.fingerprint:
        raise CalibrationError(
            f"{resume} was made from other samples or another preprocessing than those given "
            f"now (they differ within the first {seen.samples}); delete it to start afresh"
        )


def _finished(seen: Pass, joins: Mapping[int, Sequence[int]]) -> Collected:
    return Collected(
        samples=seen.samples,
        fingerprint=seen.fingerprint,
        statistics=seen.tallies.statistics(joins),
        earlier={} if seen.earlier is None else seen.earlier.statistics(joins),
        earlier_samples=seen.earlier_samples if seen.earlier_samples < seen.samples else 0,
        copies=len(seen.digests) - len(set(seen.digests)),
    )
