"""Run artifacts on their own runtime and hold them against ONNX Runtime on the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.artifact import Artifact
from edgekit.bundle import Parity, Status, Tolerance, utc_now
from edgekit.errors import GateError
from edgekit.pipeline.reference import Reference
from edgekit.pipeline.samples import Sample
from edgekit.preprocess import Preprocess
from edgekit.runtimes import RUNTIME_FORMATS, RUNTIMES
from edgekit.runtimes.base import EngineSession
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.parity import OutputParity, compare_outputs, worst
from edgekit.runtimes.plain import PlainFiles
from edgekit.runtimes.session import Session
from edgekit.runtimes.usable import NEEDS_GPU, why_unusable

BACKEND = "cpu"


@dataclass(frozen=True)
class Check:
    """What is known of one artifact.

    Args:
        status: Verified, or unverified and why.
        outputs: Worst figures of every output over the samples; empty where it did not run.
        runtime: Name of the runtime that ran it.
        version: Of that runtime.
        inference_precision: What it computed in.
    """

    status: Status
    outputs: tuple[OutputParity, ...] = ()
    runtime: str = ""
    version: str = ""
    inference_precision: str = ""

    def to_parity(self, artifact: str) -> tuple[Parity, ...]:
        """Return the records for the manifest, one an output."""
        date = utc_now()
        return tuple(
            Parity(
                artifact=artifact,
                output=item.name,
                runtime=self.runtime,
                runtime_version=self.version,
                backend=BACKEND,
                cosine=item.cosine,
                max_abs_error=item.max_abs_error,
                relative_error=item.relative_error,
                sqnr_db=item.sqnr_db,
                inference_precision=self.inference_precision,
                date=date,
            )
            for item in self.outputs
        )


def native_runtime(artifact_format: str) -> str | None:
    """Return the runtime that is made for the format; None where EdgeKit has none yet."""
    return next(
        (
            name
            for name, made in RUNTIME_FORMATS.items()
            if made[0] == artifact_format or (name in NEEDS_GPU and artifact_format in made)
        ),
        None,
    )


def why_not_here(artifact_format: str) -> str:
    """Return what is needed to run the format; ``""`` where this machine can run it."""
    runtime = native_runtime(artifact_format)
    if runtime is None or (runtime in NEEDS_GPU and why_unusable(runtime)):
        return "needs an NVIDIA GPU with TensorRT; run edgekit verify on the device"
    if RUNTIMES[runtime].missing():
        return f"needs {runtime}: pip install 'edgekit[{RUNTIMES[runtime].extra}]'"
    return ""


def open_emitted(
    artifact: Artifact,
    folder: Path,
    *,
    preprocess: Mapping[str, Preprocess],
    options: SessionOptions | None = None,
) -> EngineSession:
    """Return a session, on its own runtime, on an artifact that an emitter wrote."""
    runtime = native_runtime(artifact.format)
    if runtime is None:
        raise ValueError(f"no runtime runs {artifact.format}; ask why_not_here first")
    weights = artifact.files.get("weights")
    files = PlainFiles(
        folder / artifact.files["model"], None if weights is None else folder / weights
    )
    fused = {name: preprocess[name] for name in artifact.fused_preprocess}
    session_class: type[EngineSession] = RUNTIMES[runtime].load()
    return session_class.open(
        artifact, files, preprocess=fused, options=options, reason="verifying"
    )


def measure(
    artifact: Artifact,
    folder: Path,
    *,
    samples: Sequence[Sample],
    reference: Reference,
    preprocess: Mapping[str, Preprocess],
) -> Check:
    """Return how far the artifact is from the source on these samples, judged by nobody yet.

    Args:
        artifact: What was emitted.
        folder: Where its files are.
        samples: At least one, of the shapes that it takes.
        reference: The source.
        preprocess: Preprocessing by input name.

    Raises:
        EngineError: Its own runtime refuses it.
    """
    reason = why_not_here(artifact.format)
    if reason:
        return Check(Status("unverified", reason))
    with open_emitted(artifact, folder, preprocess=preprocess) as session:
        outputs = worst(
            compare_outputs(session.run(sample.feed(artifact)), reference(sample))
            for sample in samples
        )
        return Check(
            Status("verified"),
            outputs,
            session.runtime,
            session.version,
            session.inference_precision,
        )


def open_simulated(
    artifact: Artifact, folder: Path, *, preprocess: Mapping[str, Preprocess]
) -> Session:
    """Open an artifact's ONNX file in ONNX Runtime, whatever it was made for."""
    as_onnx = replace(artifact, format="onnx", files={"model": artifact.files["model"]})
    return open_emitted(as_onnx, folder, preprocess=preprocess)


def simulate(
    artifact: Artifact,
    folder: Path,
    *,
    samples: Sequence[Sample],
    reference: Reference,
    preprocess: Mapping[str, Preprocess],
) -> tuple[OutputParity, ...]:
    """Return how far the graph of an artifact is from the source, in ONNX Runtime.

    It shows nothing about the runtime that will run it, but what that may be expected to give.
    Nothing is returned where the artifact holds no ONNX file.
    """
    if not artifact.files["model"].endswith(".onnx"):
        return ()
    with open_simulated(artifact, folder, preprocess=preprocess) as session:
        return worst(
            compare_outputs(session.run(sample.feed(artifact)), reference(sample))
            for sample in samples
        )


def judge(name: str, check: Check, tolerance: Tolerance) -> None:
    """Refuse an artifact whose numbers are not the source's.

    Raises:
        GateError: They are not; the message names the output.
    """
    bad = [item for item in check.outputs if not item.is_within(tolerance)]
    if bad:
        raise GateError(
            f"{name} under {check.runtime} {check.version} gives other numbers than the source: "
            f"output {bad[0].name!r} has cosine {bad[0].cosine:.6f} and relative error "
            f"{bad[0].relative_error:.1e} (allowed: {tolerance.cosine_min:.6g} and "
            f"{tolerance.relative_error_max:.1g}); nothing was written. To find the operator: "
            "convert with --no-verify, then run edgekit compare; and please report it"
        )
