"""Everything that the page shows, taken out of a bundle; the template only arranges it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.artifact import Artifact
from edgekit.bundle import Bundle, Contract, Manifest
from edgekit.report import words
from edgekit.report.axis import is_drawable
from edgekit.report.bars import bar
from edgekit.report.hazards import HazardRow, hazard_rows
from edgekit.report.histogram import histogram
from edgekit.report.promise import (
    FloatRow,
    Step,
    Verdict,
    float_rows,
    frontier,
    promise_in_words,
    search_steps,
    verdicts,
)
from edgekit.report.scatter import scatter
from edgekit.report.svg import Svg, shortened
from edgekit.report.tensors import Tensor, read_ranges, worst_tensors

MOST_LAYERS = 20
MOST_TENSORS = 12
MOST_ROWS = 400


@dataclass(frozen=True)
class ArtifactRow:
    """An artifact, its size and its state."""

    name: str
    size: str
    bar: Svg
    state: str
    fused: str


@dataclass(frozen=True)
class ParityRow:
    """One output of one artifact against the source model."""

    artifact: str
    output: str
    runtime: str
    cosine: str
    error: str
    relative: str
    allowed: str
    sqnr: str
    word: str


@dataclass(frozen=True)
class LayerRow:
    """What quantizing one layer alone costs."""

    layer: str
    operator: str
    noise: str
    sqnr: str
    work: str
    bar: Svg


@dataclass(frozen=True)
class TensorCard:
    """A histogram with its figures."""

    name: str
    picture: Svg
    method: str
    covers: str
    clipped: str
    sqnr: str


@dataclass(frozen=True)
class View:
    """The page's content; what a bundle does not carry is empty or None."""

    manifest: Manifest
    size: str
    summary: tuple[tuple[str, str, str], ...]
    verdicts: tuple[Verdict, ...]
    floats: tuple[FloatRow, ...]
    hazards: tuple[HazardRow, ...]
    contract: Contract | None
    promise: str
    frontier: Svg | None
    artifacts: tuple[ArtifactRow, ...]
    parity: tuple[ParityRow, ...]
    layers: tuple[LayerRow, ...]
    tensors: tuple[TensorCard, ...]
    without_tensors: str
    steps: tuple[Step, ...]
    float_nodes: tuple[tuple[str, tuple[str, ...]], ...]
    preprocess: tuple[tuple[str, tuple[str, ...]], ...]
    calibrated_on: str


def view_of(bundle: Bundle) -> View:
    """Return what the page shows of a bundle.

    Raises:
        BundleIntegrityError: The ranges do not match their hash.
    """
    manifest = bundle.manifest
    contract = manifest.contract
    ranges, without = read_ranges(bundle)
    worst = () if ranges is None else worst_tensors(ranges, MOST_TENSORS)
    shown = None if contract is None else frontier(contract)
    lines = verdicts(manifest)
    return View(
        manifest=manifest,
        size=words.size(sum(record.size for record in manifest.files.values())),
        summary=_summary(lines),
        verdicts=lines,
        floats=float_rows(contract),
        hazards=() if contract is None else hazard_rows(contract.hazards),
        contract=contract,
        promise="" if contract is None else promise_in_words(contract),
        frontier=None
        if shown is None
        else scatter("frontier", shown, title="Accuracy against latency"),
        artifacts=_artifacts(manifest),
        parity=_parity(manifest),
        layers=() if contract is None else layer_rows(contract.sensitivity),
        tensors=tuple(_card(number, tensor) for number, tensor in enumerate(worst)),
        without_tensors=without or "The ranges carry no histograms.",
        steps=() if contract is None else search_steps(contract),
        float_nodes=() if contract is None else tuple((contract.float_nodes or {}).items()),
        preprocess=tuple((name, words.steps(item)) for name, item in manifest.preprocess.items()),
        calibrated_on="" if ranges is None else words.counted(ranges.samples, "sample"),
    )


def layer_rows(sensitivity: tuple[Mapping[str, Any], ...]) -> tuple[LayerRow, ...]:
    """Return the layers that cost most, with bars in proportion to the error they make.

    The error is the root mean square at the model's outputs as a share of the signal's:
    10 ** (-SQNR / 20). Entries that are not understood are left out.
    """
    known: list[tuple[float, float, Mapping[str, Any]]] = []
    for item in sensitivity:
        ratio_db = _number(item.get("output_sqnr_db"))
        if ratio_db is not None and abs(ratio_db) <= 600:
            known.append((10 ** (-ratio_db / 20), ratio_db, item))
    known.sort(key=lambda entry: -entry[0])
    largest = known[0][0] if known else 0.0
    rows = []
    for noise, ratio_db, item in known[:MOST_LAYERS]:
        layer, work = str(item.get("layer", "?")), _number(item.get("work_share"))
        rows.append(
            LayerRow(
                layer=layer,
                operator=str(item.get("operator", "")),
                noise=words.share(noise),
                sqnr=f"{ratio_db:.1f}",
                work="" if work is None else words.share(work),
                bar=bar(noise, largest, title=f"{layer}: {words.share(noise)}"),
            )
        )
    return tuple(rows)


def _number(value: object) -> float | None:
    """Return a JSON value as a number that can be drawn; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if is_drawable(float(value)) else None
    except OverflowError:
        return None


def _summary(lines: tuple[Verdict, ...]) -> tuple[tuple[str, str, str], ...]:
    """Return for each verdict that is there: the word, what it means, whose it is."""
    found = []
    for word, said in _SAID.items():
        names = [line.artifact for line in lines if line.word == word]
        shown = [*names[:8], f"{len(names) - 8} more"] if len(names) > 9 else names
        if names:
            found.append((word, said, words.listed(shown)))
    return tuple(found)


_SAID = {
    "refused": "more was lost than promised",
    "kept": "measured on the runtime that will run it, within the promise",
    "simulated": "another runtime ran it, its own is still to verify it",
    "verified": "replays the source model's outputs",
    "unverified": "nobody has shown that it is right",
}


def size_of(manifest: Manifest, artifact: Artifact) -> int:
    """Return the bytes of an artifact's files together, each counted once."""
    return sum(
        manifest.files[path].size
        for path in sorted(set(artifact.files.values()))
        if path in manifest.files
    )


def _artifacts(manifest: Manifest) -> tuple[ArtifactRow, ...]:
    sizes = {item.name: size_of(manifest, item) for item in manifest.artifacts}
    largest = max(sizes.values(), default=0)
    rows = []
    for item in manifest.artifacts:
        state, size = manifest.status_of(item.name).state, words.size(sizes[item.name])
        rows.append(
            ArtifactRow(
                name=item.name,
                size=size,
                bar=bar(sizes[item.name], largest, title=f"{item.name}: {size}"),
                state=state,
                fused=words.listed(item.fused_preprocess),
            )
        )
    return tuple(rows)


def _parity(manifest: Manifest) -> tuple[ParityRow, ...]:
    precisions = {item.name: item.precision for item in manifest.artifacts}
    rows = []
    for item in manifest.parity[:MOST_ROWS]:
        limits = manifest.tolerances.get(precisions[item.artifact], {}).get(item.backend)
        passed = limits is not None and limits.allows(
            cosine=item.cosine,
            relative_error=item.relative_error,
            max_abs_error=item.max_abs_error,
        )
        allowed = "no tolerance"
        if limits is not None:
            allowed = (
                f"cosine ≥ {limits.cosine_min:.6g}, "
                f"relative ≤ {words.number(limits.relative_error_max)}"
            )
        rows.append(
            ParityRow(
                artifact=item.artifact,
                output=item.output,
                runtime=f"{item.runtime} {item.runtime_version}, {item.backend}",
                cosine=f"{item.cosine:.7f}" if is_drawable(item.cosine) else "unusable",
                error=words.number(item.max_abs_error),
                relative=words.number(item.relative_error),
                allowed=allowed,
                sqnr=words.number(item.sqnr_db),
                word="within" if passed else "outside",
            )
        )
    return tuple(rows)


def _card(number: int, tensor: Tensor) -> TensorCard:
    chosen = tensor.chosen
    return TensorCard(
        name=shortened(tensor.name, 90),
        picture=histogram(f"tensor-{number}", tensor),
        method=chosen.method,
        covers=f"{words.number(chosen.low)} to {words.number(chosen.high)}",
        clipped=words.share(tensor.clipped),
        sqnr=words.number(tensor.sqnr_db),
    )
