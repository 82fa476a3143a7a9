"""What changed from one bundle to the next, beside its figures."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.bundle import Bundle, Manifest
from edgekit.report.figures import Judgement, Pair, judge, stored_figures
from edgekit.report.limits import LATENCY, Limit
from edgekit.report.points import PointPair, point_pairs
from edgekit.tensor import Layout, TensorSpec

SCHEMA_VERSION = 1
NOTHING = "none"


@dataclass(frozen=True)
class Change:
    """One fact that is another now.

    Args:
        what: Name of the fact.
        before: As text; ``"none"`` where it was absent.
        after: Likewise.
    """

    what: str
    before: str
    after: str

    def to_json(self) -> dict[str, str]:
        """Return a JSON-ready dict."""
        return {"what": self.what, "before": self.before, "after": self.after}


@dataclass(frozen=True)
class Difference:
    """Two bundles compared.

    Args:
        before: The older one's manifest.
        after: The newer one's.
        added: Names of artifacts that only the newer one has.
        removed: Names of artifacts that only the older one has.
        figures: Of the artifacts that both have.
        changes: Other facts that differ.
        points: What both converting machines timed in turns with the float model; no limit
            holds these.
    """

    before: Manifest
    after: Manifest
    added: tuple[str, ...]
    removed: tuple[str, ...]
    figures: tuple[Pair, ...]
    changes: tuple[Change, ...]
    points: tuple[PointPair, ...] = ()

    def judged(self, limits: Sequence[Limit]) -> Judgement:
        """Return what the limits say of it."""
        return judge(self.figures, limits, removed=self.removed)

    def to_json(self, limits: Sequence[Limit]) -> dict[str, Any]:
        """Return a JSON-ready dict; docs/report.md tells its keys."""
        said = self.judged(limits)
        return {
            "schema_version": SCHEMA_VERSION,
            "before": _named(self.before),
            "after": _named(self.after),
            "added": list(self.added),
            "removed": list(self.removed),
            "figures": [pair.to_json() for pair in self.figures],
            "points": [pair.to_json() for pair in self.points],
            "changes": [change.to_json() for change in self.changes],
            "limits": [limit.to_json() for limit in limits],
            "exceeded": list(said.exceeded),
            "unknown": list(said.unknown),
        }


def compare(
    before: Bundle, after: Bundle, *, latencies: Sequence[Pair] | None = None
) -> Difference:
    """Return what changed.

    Args:
        before: The older bundle.
        after: The newer bundle.
        latencies: Measured now; None takes the stored ones.
    """
    one, other = before.manifest, after.manifest
    names = [item.name for item in one.artifacts]
    later = [item.name for item in other.artifacts]
    common = {name for name in later if name in names}
    figures = stored_figures(one, other)
    if latencies is not None:
        figures = (*(pair for pair in figures if pair.figure != LATENCY), *latencies)
    return Difference(
        before=one,
        after=other,
        added=tuple(name for name in later if name not in names),
        removed=tuple(name for name in names if name not in later),
        figures=figures,
        changes=tuple(_changes(_facts(one, common=common), _facts(other, common=common))),
        points=point_pairs(one, other),
    )


def _changes(one: Mapping[str, str], other: Mapping[str, str]) -> Iterator[Change]:
    for what in dict.fromkeys((*one, *other)):
        before, after = one.get(what, NOTHING), other.get(what, NOTHING)
        if before != after:
            yield Change(what, before, after)


def _facts(manifest: Manifest, *, common: Collection[str]) -> dict[str, str]:
    """Return what a manifest says, by name of the fact; nothing that changes by itself."""
    source = manifest.source
    facts = {
        "name": manifest.name,
        "source file": source.file_name,
        "source sha256": source.sha256,
        "source framework": source.framework or NOTHING,
        "source opset": NOTHING if source.opset is None else str(source.opset),
        "edgekit": manifest.edgekit_version,
        "labels": _labels(manifest.labels),
        "calibration": manifest.calibration or NOTHING,
        "goldens": str(len(manifest.goldens)),
    }
    facts |= {f"input {spec.name}": _tensor(spec) for spec in manifest.inputs}
    facts |= {f"output {spec.name}": _tensor(spec) for spec in manifest.outputs}
    for name, steps in manifest.preprocess.items():
        settings = steps.to_json()
        facts |= {f"preprocess {name} {key}": str(value) for key, value in settings.items()}
    for item in manifest.artifacts:
        if item.name not in common:
            continue
        facts[f"state of {item.name}"] = manifest.status_of(item.name).state
        stored = (*item.inputs, *item.outputs)
        facts |= {f"{item.name} stores {spec.name}": _tensor(spec) for spec in stored}
    facts |= _contract(manifest)
    return facts | {f"tool {name}": text for name, text in manifest.tools.items()}


def _contract(manifest: Manifest) -> dict[str, str]:
    contract = manifest.contract
    if contract is None:
        return {}
    limit = f"{contract.limit * 100:g}%" if contract.is_relative else f"{contract.limit:g}"
    facts = {
        "promise": f"at most {limit} of {contract.metric} lost",
        "validation": contract.samples,
        "accuracy of the float model": f"{contract.baseline:.6g}",
        "recipe": contract.recipe or NOTHING,
    }
    for name, nodes in (contract.float_nodes or {}).items():
        facts[f"{name} keeps in float"] = ", ".join(nodes) or NOTHING
    return facts


def _labels(labels: Sequence[str]) -> str:
    return f"{len(labels)}: {', '.join(labels)}" if labels else NOTHING


def _tensor(spec: TensorSpec) -> str:
    shape = "?" if spec.shape is None else "x".join(map(str, spec.shape)) or "scalar"
    words = [spec.dtype.value, shape]
    if spec.layout is not Layout.UNKNOWN:
        words.append(spec.layout.value)
    if spec.quantization is not None:
        words.append(f"scale {spec.quantization.scale} zero point {spec.quantization.zero_point}")
    if spec.permutation is not None:
        words.append(f"stored in order {spec.permutation}")
    return " ".join(words)


def _named(manifest: Manifest) -> dict[str, str]:
    return {
        "name": manifest.name,
        "created": manifest.created,
        "source_sha256": manifest.source.sha256,
    }
