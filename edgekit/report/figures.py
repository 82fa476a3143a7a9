"""The figures of one artifact in two bundles, side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.bundle import Contract, ContractFigure, Manifest
from edgekit.report.certainty import Certainty, certainty
from edgekit.report.limits import ACCURACY, COSINE, LATENCY, SIZE, Limit
from edgekit.report.promise import latency_of
from edgekit.report.view import size_of


@dataclass(frozen=True)
class Pair:
    """One figure, before and after.

    Args:
        artifact: Name of the artifact, which both bundles have.
        figure: One of ``limits.FIGURES``.
        of: What was measured: ``"top1"``, ``"ms on openvino"``.
        before: Its value; None where it is unknown.
        after: Likewise.
        higher_is_better: Of the values.
        note: Why it is unknown, or what to keep in mind.
        certainty: How sure the difference is; None where no intervals can say.
    """

    artifact: str
    figure: str
    of: str
    before: float | None
    after: float | None
    higher_is_better: bool = False
    note: str = ""
    certainty: Certainty | None = None

    @property
    def loss(self) -> float | None:
        """By how much it got worse, in its own unit; None where it is unknown."""
        if self.before is None or self.after is None:
            return None
        return self.before - self.after if self.higher_is_better else self.after - self.before

    @property
    def change(self) -> float | None:
        """The difference as a share of the value before; None where that is unknown or 0."""
        if self.before is None or self.after is None or self.before == 0:
            return None
        share = (self.after - self.before) / abs(self.before)
        return share if math.isfinite(share) else None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "artifact": self.artifact,
            "figure": self.figure,
            "of": self.of,
            "before": self.before,
            "after": self.after,
            "change": self.change,
            "higher_is_better": self.higher_is_better,
            "note": self.note,
            "certainty": None if self.certainty is None else self.certainty.to_json(),
        }


@dataclass(frozen=True)
class Judgement:
    """What the limits say.

    Args:
        exceeded: One line for each limit that is exceeded.
        unknown: One line for each figure that has a limit and no value.
    """

    exceeded: tuple[str, ...]
    unknown: tuple[str, ...]


def stored_figures(before: Manifest, after: Manifest) -> tuple[Pair, ...]:
    """Return the figures that both manifests tell of the artifacts that both have."""
    names = [item.name for item in before.artifacts]
    common = [item.name for item in after.artifacts if item.name in names]
    makers = (_accuracy, _cosine, _latency, _size)
    return tuple(make(before, after, name) for name in common for make in makers)


def judge(pairs: Sequence[Pair], limits: Iterable[Limit], *, removed: Sequence[str]) -> Judgement:
    """Hold the figures to the limits.

    Args:
        pairs: Of the artifacts that both bundles have.
        limits: What is allowed.
        removed: Names of the artifacts that are gone, of which nothing is known any more.
    """
    exceeded: list[str] = []
    unknown: list[str] = []
    for limit in limits:
        held = [pair for pair in pairs if pair.figure == limit.figure]
        for pair in held:
            if pair.before is None or pair.loss is None:
                unknown.append(f"{pair.artifact}: {pair.figure} is unknown: {pair.note}")
            elif not limit.allows(before=pair.before, loss=pair.loss):
                exceeded.append(_told(pair, limit))
        unknown += [f"{name}: {limit.figure} is unknown: it was removed" for name in removed]
        if not held and not removed:
            unknown.append(f"{limit.figure} is unknown: the bundles have no artifact in common")
    return Judgement(tuple(exceeded), tuple(unknown))


def _told(pair: Pair, limit: Limit) -> str:
    change = "" if pair.change is None else f" ({pair.change:+.2%})"
    remark = "" if pair.certainty is None else pair.certainty.in_words
    return (
        f"{pair.artifact}: {pair.figure} ({pair.of}) went from {pair.before:.6g} to "
        f"{pair.after:.6g}{change}; the limit is {limit}{remark and '; '}{remark}"
    )


def _accuracy(before: Manifest, after: Manifest, name: str) -> Pair:
    one, other = _contracted(before, name), _contracted(after, name)
    if one is None and other is None:
        return _agreement(before, after, name)
    if one is None or other is None:
        which = "before" if one is None else "after"
        note = f"there is no measured accuracy {which}"
        return Pair(name, ACCURACY, "", _value(one), _value(other), note=note)
    (contract, figure), (later, figured) = one, other
    is_same = (contract.metric, contract.higher_is_better) == (
        later.metric,
        later.higher_is_better,
    )
    if not is_same:
        note = f"{contract.metric} before and {later.metric} after cannot be compared"
        return Pair(name, ACCURACY, "", None, None, note=note)
    notes = []
    if contract.samples != later.samples:
        notes.append(f"on {contract.samples} before, on {later.samples} after")
    if "simulated" in (figure.status, figured.status):
        notes.append(f"{figure.status} before, {figured.status} after")
    return Pair(
        name,
        ACCURACY,
        contract.metric,
        figure.value,
        figured.value,
        contract.higher_is_better,
        "; ".join(notes),
        certainty(before, after, (figure, figured)),
    )


def _agreement(before: Manifest, after: Manifest, name: str) -> Pair:
    """Return the agreement with the source model, where nothing was promised."""
    one, other = _least_cosine(before, name), _least_cosine(after, name)
    note = "neither bundle has a contract: the least cosine to the source model stands for it"
    if one is None or other is None:
        note = "it was not measured in both bundles"
    return Pair(name, ACCURACY, "cosine", one, other, higher_is_better=True, note=note)


def _cosine(before: Manifest, after: Manifest, name: str) -> Pair:
    one, other = _least_cosine(before, name), _least_cosine(after, name)
    note = "" if one is not None and other is not None else "it was not run in both bundles"
    return Pair(name, COSINE, "to the source model", one, other, higher_is_better=True, note=note)


def _latency(before: Manifest, after: Manifest, name: str) -> Pair:
    one, other = _contracted(before, name), _contracted(after, name)
    times = [None if item is None else latency_of(item[1]) for item in (one, other)]
    runtimes = [item[1].runtime for item in (one, other) if item is not None]
    note = "as stored, each from its converting machine; --bench measures both here"
    if None in times:
        note = "it was not measured on its own runtime in both; --bench times both here"
    elif len(set(runtimes)) > 1:
        note = f"on {runtimes[0]} before, on {runtimes[1]} after"
    return Pair(name, LATENCY, "ms, as stored", times[0], times[1], note=note)


def _size(before: Manifest, after: Manifest, name: str) -> Pair:
    sizes = [
        float(size_of(manifest, item))
        for manifest in (before, after)
        for item in manifest.artifacts
        if item.name == name
    ]
    return Pair(name, SIZE, "bytes", sizes[0], sizes[1])


def _contracted(manifest: Manifest, name: str) -> tuple[Contract, ContractFigure] | None:
    contract = manifest.contract
    for figure in () if contract is None else contract.figures:
        if figure.artifact == name and contract is not None:
            return contract, figure
    return None


def _value(found: tuple[Contract, ContractFigure] | None) -> float | None:
    return None if found is None else found[1].value


def _least_cosine(manifest: Manifest, name: str) -> float | None:
    return min((item.cosine for item in manifest.parity if item.artifact == name), default=None)
