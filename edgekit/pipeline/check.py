"""Run artifacts on their own runtime and hold them against ONNX Runtime on the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.artifact import Artifact
from edgekit.bundle import DEFAULT_TOLERANCES, Parity, Status, utc_now
from edgekit.errors import GateError
from edgekit.graph import Array
from edgekit.pipeline.samples import Sample
from edgekit.preprocess import Preprocess
from edgekit.runtimes import RUNTIME_FORMATS, RUNTIMES
from edgekit.runtimes.base import Session
from edgekit.runtimes.parity import OutputParity, compare_outputs, worst
from edgekit.runtimes.plain import PlainFiles

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


class Reference:
    """The source model under ONNX Runtime; each sample is run once.

    Args:
        model: The source file.
    """

    def __init__(self, model: Path) -> None:
        self._model = model
        self._known: dict[int, tuple[Sample, dict[str, Array]]] = {}

    def __call__(self, sample: Sample) -> dict[str, Array]:
        """Return the source's outputs by name."""
        from edgekit.converters.evaluate import run_model

        if id(sample) not in self._known:
            outputs = run_model(self._model, sample.tensors, optimize=True)
            self._known[id(sample)] = (sample, outputs)
        return self._known[id(sample)][1]


def native_runtime(artifact_format: str) -> str | None:
    """Return the runtime that is made for the format; None where EdgeKit has none yet."""
    return next(
        (name for name, made in RUNTIME_FORMATS.items() if made[0] == artifact_format), None
    )


def why_not_here(artifact_format: str) -> str:
    """Return what is needed to run the format; ``""`` where this machine can run it."""
    runtime = native_runtime(artifact_format)
    if runtime is None:
        return "needs an NVIDIA GPU with TensorRT; run edgekit verify on the device"
    if RUNTIMES[runtime].missing():
        return f"needs {runtime}: pip install 'edgekit[{RUNTIMES[runtime].extra}]'"
    return ""


def open_emitted(
    artifact: Artifact, folder: Path, *, preprocess: Mapping[str, Preprocess]
) -> Session:
    """Return a session, on its own runtime, on an artifact that an emitter wrote."""
    runtime = native_runtime(artifact.format)
    if runtime is None:
        raise ValueError(f"no runtime runs {artifact.format}; ask why_not_here first")
    weights = artifact.files.get("weights")
    files = PlainFiles(
        folder / artifact.files["model"], None if weights is None else folder / weights
    )
    fused = {name: preprocess[name] for name in artifact.fused_preprocess}
    session_class: type[Session] = RUNTIMES[runtime].load()
    return session_class.open(artifact, files, preprocess=fused, reason="verifying")


def check_artifact(
    artifact: Artifact,
    folder: Path,
    *,
    samples: Sequence[Sample],
    reference: Reference,
    preprocess: Mapping[str, Preprocess],
) -> Check:
    """Return how the artifact compares with the source on these samples.

    Args:
        artifact: What was emitted.
        folder: Where its files are.
        samples: At least one, of the shapes that it takes.
        reference: The source.
        preprocess: Preprocessing by input name.

    Raises:
        GateError: It runs, and its numbers are not the source's.
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
        check = Check(
            Status("verified"),
            outputs,
            session.runtime,
            session.version,
            session.inference_precision,
        )
    tolerance = DEFAULT_TOLERANCES[artifact.precision][BACKEND]
    bad = [item for item in outputs if not item.is_within(tolerance)]
    if bad:
        raise GateError(
            f"{artifact.name} under {check.runtime} {check.version} gives other numbers than the "
            f"source: output {bad[0].name!r} has cosine {bad[0].cosine:.6f} and relative error "
            f"{bad[0].relative_error:.1e} (allowed: {tolerance.cosine_min} and "
            f"{tolerance.relative_error_max:.0e}); nothing was written. To find the operator: "
            "convert with --no-verify, then run edgekit compare; and please report it"
        )
    return check
