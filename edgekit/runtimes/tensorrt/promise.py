"""Whether an engine keeps, on this device, what the bundle promises of its accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from edgekit.bundle import Bundle
from edgekit.bundle.contract import Contract
from edgekit.errors import RuntimeUnavailableError, UsageError
from edgekit.runtimes.decoders import pick_decoder
from edgekit.runtimes.evaluate import evaluate, label_by
from edgekit.runtimes.reading import Detection, Reading
from edgekit.runtimes.select import load
from edgekit.runtimes.session import Session
from edgekit.runtimes.validation import Validation, Wanted, open_validation

_AGREEMENT = "agreement: "


def judge_by(
    bundle: Bundle,
    path: Path,
    *,
    decoder: str | None = None,
    output: str = "",
    limit: int | None = None,
    tell: Callable[[str], None] = lambda stage: None,
) -> Callable[[Session], str]:
    """Return a judge that measures a session as the contract was measured.

    The float model is measured on the same samples on this device's CPU; what an engine loses
    against it has to be within what the contract allows.

    Args:
        bundle: With a contract.
        path: Validation samples, as ``edgekit eval`` takes them.
        decoder: How a detector's outputs become boxes; the bundle does not carry it.
        output: Which of several outputs counts.
        limit: So many samples, evenly spread; None takes all.
        tell: Told what is being measured.

    Raises:
        UsageError: The bundle promises nothing, or has no float artifact to measure against.
    """
    contract = bundle.manifest.contract
    if contract is None:
        raise UsageError(
            "the bundle promises no accuracy; leave --validation out, or convert with --max-drop"
        )
    manifest = bundle.manifest
    reading = Reading(
        preprocess=manifest.preprocess,
        inputs=manifest.inputs,
        output=output,
        detection=None if decoder is None else Detection(pick_decoder(decoder)),
    )
    channels = next((steps.frame_channels for steps in manifest.preprocess.values()), 3)
    samples = open_validation(path, Wanted(manifest.inputs, channels, bundle.labels))
    samples = samples.thinned(limit or len(samples))
    metric = contract.metric.removeprefix(_AGREEMENT)
    with _float_model(bundle) as reference:
        if contract.metric.startswith(_AGREEMENT):
            tell(f"label {len(samples)} samples with {reference.artifact.name}")
            named = label_by(reference, samples, metric, reading=reading)
            samples = samples.relabelled(
                [item.expected for item in named], f"{samples.description}, labelled here"
            )
        tell(f"measure {reference.artifact.name}")
        baseline = _value(reference, samples, metric, reading)

    def judge(session: Session) -> str:
        tell(f"measure {session.artifact.name}")
        value = _value(session, samples, metric, reading)
        lost = lost_by(contract, value, baseline=baseline)
        if lost <= contract.limit:
            return ""
        return (
            f"{contract.metric} {value:.4f} here, {baseline:.4f} in float: it loses "
            f"{_shown(lost, contract)}, and {_shown(contract.limit, contract)} is promised"
        )

    return judge


def lost_by(contract: Contract, value: float, *, baseline: float) -> float:
    """Return what a value has lost, in the contract's own terms; a NaN has lost all."""
    lost = baseline - value if contract.higher_is_better else value - baseline
    if math.isnan(lost):
        return float("inf")
    if not contract.is_relative:
        return lost
    return lost / abs(baseline) if baseline else (0.0 if lost <= 0 else float("inf"))


def _float_model(bundle: Bundle) -> Session:
    names = [item.name for item in bundle.artifacts if item.precision == "fp32"]
    reasons = []
    for name in names:
        for device in ("auto", "onnxruntime"):  # the second runs TensorRT's own file on the CPU
            try:
                session = load(bundle, artifact=name, device=device)
            except RuntimeUnavailableError as error:
                reasons.append(str(error))
                continue
            if session.runtime != "tensorrt":
                return session
            session.close()
    raise UsageError(
        "the bundle has no fp32 artifact that a CPU here can run, to measure against; convert "
        f"with --target onnx too ({'; '.join(reasons) or 'it has none at all'})"
    )


def _value(session: Session, samples: Validation, metric: str, reading: Reading) -> float:
    return evaluate(
        session, samples, metric, reading=reading, samples_in_words=samples.description
    ).value


def _shown(lost: float, contract: Contract) -> str:
    return f"{lost:.2%}" if contract.is_relative else f"{lost:.4g}"
