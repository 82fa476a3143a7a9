"""Whether an artifact still gives the numbers of its source: per output, and by goldens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from typing import Any

from edgekit.bundle import Bundle, Golden, Manifest, Tolerance
from edgekit.errors import EngineError, InputError, ShapeError, VerificationError
from edgekit.metrics import cosine, max_abs_error, relative_error, sqnr_db
from edgekit.runtimes.choice import Candidate, choose
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.session import Array, Session
from edgekit.runtimes.source import Source

Progress = Callable[[str], None]
"""Told the name of each stage as it starts."""

BACKENDS = {"tensorrt": "gpu"}
"""The class of each runtime in a manifest's tolerances; ``"cpu"`` where none is named."""

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True)
class OutputParity:
    """How far one output is from its reference; the formulas are those of ``metrics``.

    Args:
        name: Name of the output.
        cosine: 1 is the same direction.
        max_abs_error: In the output's own units.
        relative_error: That over the reference's largest absolute value.
        sqnr_db: Infinity for equal outputs.
    """

    name: str
    cosine: float
    max_abs_error: float
    relative_error: float
    sqnr_db: float

    def is_within(self, tolerance: Tolerance) -> bool:
        """Whether it is within the tolerance; a NaN never is."""
        return tolerance.allows(
            cosine=self.cosine,
            relative_error=self.relative_error,
            max_abs_error=self.max_abs_error,
        )

    def worse(self, other: OutputParity) -> OutputParity:
        """Return the worse of each figure."""
        return OutputParity(
            self.name,
            min(self.cosine, other.cosine),
            max(self.max_abs_error, other.max_abs_error),
            max(self.relative_error, other.relative_error),
            min(self.sqnr_db, other.sqnr_db),
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict; an infinity, which JSON lacks, is null."""
        return {
            name: None if isinstance(value, float) and not isfinite(value) else value
            for name, value in asdict(self).items()
        }


def compare_outputs(
    actual: Mapping[str, Array], reference: Mapping[str, Array]
) -> tuple[OutputParity, ...]:
    """Return the figures of every output of the reference, in its order.

    Args:
        actual: What was computed, by name.
        reference: What is right, by name.

    Raises:
        VerificationError: An output is missing.
        ShapeError: An output has another shape than its reference.
    """
    missing = [name for name in reference if name not in actual]
    if missing:
        raise VerificationError(
            f"there is no output {', '.join(map(repr, missing))}, only {', '.join(actual)}"
        )
    return tuple(
        OutputParity(
            name,
            cosine(actual[name], values),
            max_abs_error(actual[name], values),
            relative_error(actual[name], values),
            sqnr_db(actual[name], values),
        )
        for name, values in reference.items()
    )


def worst(figures: Iterable[Sequence[OutputParity]]) -> tuple[OutputParity, ...]:
    """Return, per output, the worst of each figure over several comparisons."""
    by_name: dict[str, OutputParity] = {}
    for figure in (item for sequence in figures for item in sequence):
        known = by_name.get(figure.name)
        by_name[figure.name] = figure if known is None else known.worse(figure)
    return tuple(by_name.values())


@dataclass(frozen=True)
class Replay:
    """How one artifact's goldens replayed on one runtime.

    Args:
        artifact: Its name.
        runtime: Name in ``RUNTIMES``; ``""`` where none here can run it.
        status: ``"passed"``, ``"failed"`` or ``"skipped"``: it was not run, so nothing is shown.
        reason: Why it failed or was skipped; ``""`` where it passed.
        version: The engine's own.
        inference_precision: What the engine computed in.
        tolerance: What was allowed; None where it was not run.
        outputs: Per output the worst figures over the goldens.
    """

    artifact: str
    runtime: str
    status: str
    reason: str = ""
    version: str = ""
    inference_precision: str = ""
    tolerance: Tolerance | None = None
    outputs: tuple[OutputParity, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        data["tolerance"] = None if self.tolerance is None else self.tolerance.to_json()
        data["outputs"] = [output.to_json() for output in self.outputs]
        return data


def verify_bundle(
    bundle: Bundle, *, device: str = "auto", progress: Progress | None = None
) -> list[Replay]:
    """Replay the goldens of every artifact on every runtime that is here.

    Files are not hashed: that is ``Bundle.verify_files``.

    Args:
        bundle: With goldens.
        device: ``"auto"`` for all runtimes, or one runtime's name.
        progress: Told the name of each stage as it starts.

    Returns:
        A result for every artifact on every runtime that runs its format, and a skipped
        one for every artifact that nothing here runs.

    Raises:
        VerificationError: The bundle has no goldens, so nothing could be shown.
        UsageError, MissingDependencyError: As for ``choose``.
    """
    goldens = list(bundle.goldens())
    if not goldens:
        raise VerificationError(
            "the bundle holds no golden inputs and outputs, so that nothing can be shown; "
            "convert the model again"
        )
    source = Source(bundle)
    choice = choose(source.artifacts, device=device)
    results: list[Replay] = []
    for candidate in choice.candidates:
        if progress is not None:
            progress(f"replay {candidate}")
        results.append(_replay(source, candidate, goldens, manifest=bundle.manifest))
    ran = {result.artifact for result in results}
    why = "; ".join(choice.refused) or "no runtime here opens its format"
    results += [
        Replay(artifact.name, "", SKIPPED, why)
        for artifact in source.artifacts
        if artifact.name not in ran
    ]
    return results


def replay_on(session: Session, goldens: Sequence[Golden], *, manifest: Manifest) -> Replay:
    """Replay goldens on an open session.

    Args:
        session: Of an artifact of the manifest's bundle.
        goldens: With frames for every input whose preprocessing is in the artifact.
        manifest: Its tolerances are what is allowed.
    """
    precision, backend = session.artifact.precision, BACKENDS.get(session.runtime, "cpu")
    tolerance = manifest.tolerance(precision, backend=backend)
    ran = Replay(
        artifact=session.artifact.name,
        runtime=session.runtime,
        status=FAILED,
        version=session.version,
        inference_precision=session.inference_precision,
        tolerance=tolerance,
    )
    try:
        outputs = worst(_figures(session, golden) for golden in goldens)
    except (EngineError, InputError, ShapeError, VerificationError) as error:
        return replace(ran, reason=str(error))
    bad = [output for output in outputs if not output.is_within(tolerance)]
    if bad:
        return replace(ran, reason=_reason(bad[0], tolerance), outputs=outputs)
    return replace(ran, status=PASSED, outputs=outputs)


def _replay(
    source: Source, candidate: Candidate, goldens: Sequence[Golden], *, manifest: Manifest
) -> Replay:
    artifact = candidate.artifact
    blank = Replay(artifact.name, candidate.runtime, SKIPPED)
    usable = [golden for golden in goldens if _has_frames(golden, artifact.fused_preprocess)]
    if not usable:
        names = ", ".join(artifact.fused_preprocess)
        return replace(blank, reason=f"it takes frames for {names}; the goldens hold none")
    try:
        # Parity is judged in float32, whatever the CPU would rather compute in.
        session = source.open(candidate, SessionOptions(), reason="verifying")
    except EngineError as error:
        return replace(blank, status=FAILED, reason=str(error))
    except ImportError as error:
        return replace(blank, reason=f"{candidate.runtime} cannot be imported: {error}")
    with session:
        return replay_on(session, usable, manifest=manifest)


def _has_frames(golden: Golden, fused: Sequence[str]) -> bool:
    return all(golden.inputs[name].dtype.name == "uint8" for name in fused)


def _figures(session: Session, golden: Golden) -> tuple[OutputParity, ...]:
    return compare_outputs(session.run(golden.inputs), golden.outputs)


def _reason(output: OutputParity, tolerance: Tolerance) -> str:
    return (
        f"output {output.name!r} has cosine {output.cosine:.6f} and relative error "
        f"{output.relative_error:.1e}; at least {tolerance.cosine_min} and at most "
        f"{tolerance.relative_error_max:.0e} are allowed: run edgekit compare to find the operator"
    )
