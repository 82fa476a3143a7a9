"""Which artifact a device runs best, as ``edgekit build`` has found out there."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.runtimes.choice import Candidate
from edgekit.runtimes.engines import EngineStore, StoredEngine
from edgekit.runtimes.source import Source


def in_order(
    candidates: Sequence[Candidate], source: Source, store: EngineStore
) -> tuple[Candidate, ...]:
    """Return the candidates with TensorRT's in the order that was measured here.

    First the artifact that won, then those that were not measured, last those that were
    found wrong or slower. Candidates of other runtimes keep their places.

    Args:
        candidates: As ``choose`` returns them.
        source: What they are from.
        store: Where the engines are, with what was noted beside them.
    """
    ours = [item for item in candidates if item.runtime == "tensorrt"]
    if len(ours) < 2:
        return tuple(candidates)
    known = store.entries()
    ranked = iter(sorted(ours, key=lambda item: _rank(item, source, known)))
    return tuple(next(ranked) if item.runtime == "tensorrt" else item for item in candidates)


def _rank(candidate: Candidate, source: Source, known: Sequence[StoredEngine]) -> int:
    hashes = source.hashes(candidate.artifact)
    kept = [
        engine.facts["kept"]
        for engine in known
        if engine.key.model in hashes
        and engine.facts.get("artifact") == candidate.artifact.name
        and "kept" in engine.facts
    ]
    if not kept:
        return 1
    return 0 if any(kept) else 2
