"""Serve now on what is ready, and swap to the TensorRT engine when it is built and right."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.errors import EngineError, RuntimeUnavailableError, UsageError
from edgekit.runtimes.parity import PASSED, replay_on
from edgekit.runtimes.session import Session
from edgekit.runtimes.tensorrt.child import Status
from edgekit.runtimes.tensorrt.prepare import EngineOptions
from edgekit.runtimes.warm import Tell, WarmSession

if TYPE_CHECKING:
    from edgekit.runtimes.options import SessionOptions
    from edgekit.runtimes.source import Source

_ON_CPU = ("openvino", "litert", "onnxruntime")


def open_warm(opened: Source, options: SessionOptions, *, artifact: str | None) -> Session:
    """Return a session that answers at once and moves to TensorRT when that is ready.

    Args:
        opened: A bundle that also holds an artifact for a CPU.
        options: What is asked of the engines.
        artifact: Name of the TensorRT artifact; None takes the one that was kept here.

    Raises:
        UsageError: It is no bundle: nothing tells whether the engine is right.
        RuntimeUnavailableError: Nothing in the bundle can answer meanwhile, or there is no GPU.
    """
    from edgekit.runtimes.select import open_first

    if opened.bundle is None:
        raise UsageError("warm='background' needs a bundle: its goldens prove the engine")
    try:
        return open_first(opened, options, device="tensorrt", artifact=artifact)
    except RuntimeUnavailableError:
        raise
    except EngineError:
        pass  # none is built yet, or what is there does not fit
    bundle = opened.bundle
    ready = _ready(opened, options)
    goldens = list(bundle.goldens())

    def prepare(tell: Tell) -> Session:
        def watch(status: Status) -> None:
            tell(str(status))

        engine = replace(options.engine or EngineOptions(), may_build=True, watch=watch)
        own = replace(options, engine=engine)
        return open_first(opened, own, device="tensorrt", artifact=artifact)

    def judge(session: Session) -> str:
        if not goldens:
            return "the bundle holds no goldens, so that nothing shows that the engine is right"
        replay = replay_on(session, goldens, manifest=bundle.manifest)
        return "" if replay.status == PASSED else f"the goldens do not replay: {replay.reason}"

    return WarmSession(ready, prepare, judge=judge)


def _ready(opened: Source, options: SessionOptions) -> Session:
    """Return a session on the CPU: an artifact of its own, or TensorRT's ONNX in ONNX Runtime."""
    from edgekit.runtimes.choice import choose
    from edgekit.runtimes.select import open_first

    own = replace(options, engine=None)
    reasons = []
    for device in _ON_CPU:
        try:
            if choose(opened.artifacts, device=device).candidates:
                return open_first(opened, own, device=device)
        except EngineError as error:
            reasons.append(str(error))
        except (RuntimeUnavailableError, ImportError) as error:
            reasons.append(str(error))
    simulated = next((item for item in opened.artifacts if item.format == "tensorrt"), None)
    if simulated is not None:
        try:
            return open_first(opened, own, device="onnxruntime", artifact=simulated.name)
        except (EngineError, RuntimeUnavailableError, ImportError) as error:
            reasons.append(str(error))
    raise RuntimeUnavailableError(
        "nothing in the bundle can answer while the engine is built: " + "; ".join(reasons)
    )
