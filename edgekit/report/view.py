"""Everything that the page shows, taken out of a bundle; the template only arranges it."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.artifact import Artifact
from edgekit.bundle import Bundle, Contract, Manifest
from edgekit.report import words
from edgekit.report.axis import is_drawable
from edgekit.report.bars import bar
from edgekit.report.hazards import HazardRow, hazard_rows
from edgekit.report.histogram import histogram
from edgekit.report.layers import LayerTable, layer_table
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
    layers: LayerTable
    tensors: tuple[TensorCard, ...]
    without_tensors: str
    steps: tuple[Step, ...]
    float_nodes: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
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
        layers=layer_table(contract),
        tensors=tuple(_card(number, tensor) for number, tensor in enumerate(worst)),
        without_tensors=without or "The ranges carry no histograms.",
        steps=() if contract is None else search_steps(contract),
        float_nodes=() if contract is None else _float_nodes(contract),
        preprocess=tuple((name, words.steps(item)) for name, item in manifest.preprocess.items()),
        calibrated_on="" if ranges is None else words.counted(ranges.samples, "sample"),
    )


def _float_nodes(contract: Contract) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Return artifacts with the nodes that are in float: mostly the same for all."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name, nodes in (contract.float_nodes or {}).items():
        if nodes:
            found.setdefault(nodes, []).append(name)
    return tuple((tuple(names), nodes) for nodes, names in found.items())


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
