"""The calibration doctor: what is wrong with the samples, in words and figures.

``look`` examines them before the pass, ``look_back`` the ranges after it. Neither changes
anything; a finding is a reason to look again, not a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgekit.calibration.appearance import alike, constant, far_from, outside_contract
from edgekit.calibration.collect import Collected
from edgekit.calibration.evidence import (
    SWAPPED,
    Probe,
    Run,
    Sample,
    Trained,
    Variant,
    confidences,
    norm_distance,
    variants_of,
)
from edgekit.calibration.finding import Finding
from edgekit.calibration.observers import choose_ranges
from edgekit.calibration.observers.bins import Vector
from edgekit.preprocess import Preprocess
from edgekit.ranges import Range
from edgekit.tensor import TensorSpec

LOOKED_AT = 16
"""Samples that are examined before the pass."""

_TRIED_ON = 8
"""Those of them that the model is run on, in each way of feeding them."""

FEW = 32
"""Fewer samples than this are called few. NVIDIA's and Google's guides ask for 100 to 500."""

# A change by more than this part of a range's width costs more than half a code at its end.
_SETTLED = 0.05
_UNSETTLED_SHARE = 0.1
_MOST_TIMES = 10

_SURER, _SURER_SHARE = 0.05, 0.75
# Student's t of the gain over the samples: 1 in 70 by chance. Detectors lose one to two
# points on swapped colours, in most pictures (YuNet 2.5, YOLOX-nano 2.9, on 16 photos).
_COLOUR_T = 2.4
_NEARER, _NEARER_BY = 1.5, 0.15


@dataclass(frozen=True)
class Model:
    """What the doctor may ask of the float model.

    Args:
        inputs: Its inputs.
        run: Runs it.
        trained: Mean and variance that its batch norms keep of their inputs, by tensor
            name, nearest to the input first; may be empty.
        probe: Yields these tensors.
        classes: Number of class names known of it.
    """

    inputs: tuple[TensorSpec, ...]
    run: Run | None = None
    trained: Trained = field(default_factory=dict)
    probe: Probe | None = None
    classes: int | None = None


def look(
    samples: Sequence[Sample],
    model: Model,
    *,
    preprocess: Mapping[str, Preprocess] | None = None,
    goldens: Sequence[Sample] = (),
    expected: int | None = None,
) -> list[Finding]:
    """Return what is wrong with the samples, before they are used.

    Args:
        samples: Some of them, preprocessed, such as ``Samples.first(LOOKED_AT)``.
        model: The float model.
        preprocess: The contract, by input name.
        goldens: Inputs that the model is known to serve.
        expected: How many samples there will be.
    """
    findings: list[Finding] = []
    if expected is not None and expected < FEW:
        findings.append(_few(expected))
    for spec in model.inputs:
        if not spec.dtype.is_float:
            continue
        arrays = [sample[spec.name] for sample in samples]
        steps = (preprocess or {}).get(spec.name)
        findings += constant(arrays, spec)
        findings += alike(arrays, spec)
        findings += outside_contract(arrays, spec, steps)
        findings += far_from(arrays, [golden[spec.name] for golden in goldens], spec)
        findings += _fed_wrongly(samples, spec, model, steps)
    return findings


def look_back(collected: Collected, chosen: Mapping[str, Range], *, method: str) -> list[Finding]:
    """Return what the pass showed: copies among the samples, and ranges that still moved.

    Args:
        collected: What the pass saw.
        chosen: The ranges of all samples.
        method: By which they were chosen.
    """
    findings: list[Finding] = []
    if collected.copies:
        findings.append(
            Finding(
                "copies",
                f"{collected.copies} of {collected.samples} samples are copies of others, byte "
                "for byte; they add nothing: give different ones",
                {"copies": collected.copies, "samples": collected.samples},
            )
        )
    if not collected.earlier_samples:
        return findings
    moved = _moves(choose_ranges(collected.earlier, method), chosen)
    loose = {name: move for name, move in moved.items() if move > _SETTLED}
    if len(loose) <= _UNSETTLED_SHARE * len(moved):
        return findings
    worst = max(loose, key=lambda name: loose[name])
    # The spread of an estimate falls with the root of the number of samples.
    times = min((float(np.percentile(list(moved.values()), 90)) / _SETTLED) ** 2, _MOST_TIMES)
    wanted = round(collected.samples * max(times, 2.0), -1)
    findings.append(
        Finding(
            "unsettled",
            f"too few samples: from {collected.earlier_samples} to {collected.samples} of them "
            f"the ranges of {len(loose)} of {len(moved)} tensors moved by more than "
            f"{_SETTLED:.0%} of their width (most {worst}, {loose[worst]:.0%}); about "
            f"{wanted:.0f} would settle them",
            {"moved": len(loose), "tensors": len(moved), "wanted": wanted},
        )
    )
    return findings


def _few(expected: int) -> Finding:
    return Finding(
        "few",
        f"{expected} samples are few: what they do not show is clipped; 100 to 500 that look "
        "like what the model will see are usual",
        {"samples": expected},
    )


def _fed_wrongly(
    samples: Sequence[Sample], spec: TensorSpec, model: Model, steps: Preprocess | None
) -> list[Finding]:
    _, *others = variants_of(samples, spec, steps)
    if not others:
        return []
    if model.trained and model.probe is not None:
        return _by_norms(samples[:_TRIED_ON], others, spec, model.trained, model.probe)
    if model.run is not None:
        return _by_confidence(samples, others, spec, model.run, model.classes)
    return []


def _by_norms(
    samples: Sequence[Sample],
    others: Sequence[Variant],
    spec: TensorSpec,
    trained: Trained,
    probe: Probe,
) -> list[Finding]:
    mine = norm_distance(probe, trained, samples)
    best, nearest = min(
        (norm_distance(probe, trained, map(other.feed, samples)), other.name) for other in others
    )
    if mine < _NEARER * best or mine - best < _NEARER_BY:
        return []
    evidence = (
        f"the model's first batch norms saw other values in training: their distance is "
        f"{mine:.2f} as given and {best:.2f} that way (0 is the same)"
    )
    return [_wrongly(nearest, spec, evidence, {"given": mine, "other": best})]


def _by_confidence(
    samples: Sequence[Sample],
    others: Sequence[Variant],
    spec: TensorSpec,
    run: Run,
    classes: int | None,
) -> list[Finding]:
    mine = np.array(confidences(run, samples, classes=classes))
    if not mine.size:
        return []
    surest: tuple[float, str] = (-1.0, "")
    for other in others:
        # Colours tell less than scales, so that they are asked for on every sample.
        tried = len(samples) if other.name == SWAPPED else _TRIED_ON
        theirs = np.array(confidences(run, map(other.feed, samples[:tried]), classes=classes))
        if theirs.size and _is_surer(theirs, mine[:tried], is_colour=other.name == SWAPPED):
            surest = max(surest, (float((theirs - mine[:tried]).mean()), other.name))
    if not surest[1]:
        return []
    given = float(mine.mean())
    evidence = (
        f"the float model is {given:.1%} sure as given and {surest[0] * 100:.1f} points surer "
        "that way, on most samples"
    )
    return [_wrongly(surest[1], spec, evidence, {"given": given, "gain": surest[0]})]


def _is_surer(theirs: Vector, mine: Vector, *, is_colour: bool) -> bool:
    gains = theirs - mine
    if float((gains > 0).mean()) < _SURER_SHARE:
        return False
    if not is_colour:
        return float(gains.mean()) >= _SURER
    if len(gains) < _TRIED_ON:
        return False
    error = float(gains.std(ddof=1)) / len(gains) ** 0.5
    return bool(gains.mean() >= _COLOUR_T * error)


def _wrongly(way: str, spec: TensorSpec, evidence: str, figures: Mapping[str, float]) -> Finding:
    code = "colour" if way == SWAPPED else "scale"
    return Finding(
        code,
        f"input {spec.name!r} seems to want {way}: {evidence}; check --preprocess",
        figures,
    )


def _moves(before: Mapping[str, Range], after: Mapping[str, Range]) -> dict[str, float]:
    """Return by how much of its width each range moved."""
    return {
        name: (abs(after[name].low - old.low) + abs(after[name].high - old.high))
        / (after[name].high - after[name].low)
        for name, old in before.items()
        if name in after and after[name].high > after[name].low
    }
