"""Open a bundle or a model file on the runtime that suits this machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgekit.bundle import Bundle
from edgekit.errors import EngineError, UsageError
from edgekit.registry import unknown_name
from edgekit.runtimes.choice import Candidate, choose
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.session import Session
from edgekit.runtimes.source import Source

logger = logging.getLogger(__name__)


WARM = ("wait", "background", "never")
"""What ``load`` does where TensorRT has no engine yet."""


def load(
    source: str | Path | Bundle,
    *,
    device: str = "auto",
    artifact: str | None = None,
    threads: int | None = None,
    hint: str = "latency",
    cache_dir: Path | None = None,
    warm: str = "wait",
    options: SessionOptions | None = None,
) -> Session:
    """Return a session that runs the model.

    Args:
        source: A bundle, or the path of one, or of a plain ``.onnx``, ``.tflite`` or
            ``.xml`` file, whose inputs and outputs are then as the engine tells them.
        device: ``"auto"`` takes what suits the machine, is installed, and has an artifact
            (TensorRT only where its engine is built); a runtime's name takes that one or fails.
        artifact: Name of the artifact to run, such as ``"openvino-fp16"``; None takes
            the first that the runtime can run; of TensorRT's, the one that ``edgekit build``
            has kept.
        threads: CPU threads of one call; None leaves it to the engine.
        hint: ``"latency"`` or ``"throughput"``.
        cache_dir: Where an engine that compiles keeps the result.
        warm: Where ``device="tensorrt"`` has no engine yet: ``"wait"`` builds it first, which
            takes minutes on a board; ``"background"`` answers at once from another runtime of
            the bundle and swaps when the engine is built and replays the goldens;
            ``"never"`` fails.
        options: All options at once, instead of threads, hint and cache_dir.

    Returns:
        A session; its ``reason`` says why this runtime was taken.

    Raises:
        UsageError: There is no such device, artifact or file.
        BundleError: The bundle cannot be read.
        MissingDependencyError: The named runtime is not installed.
        RuntimeUnavailableError: Nothing on this machine can run it; the message lists
            every runtime and why it cannot.
        EngineMismatchError: There is no engine that fits, and none may be built.
        EngineError: The named runtime failed to load it.
    """
    if warm not in WARM:
        raise UsageError(unknown_name(warm, WARM, kind="way to warm up"))
    options = options or SessionOptions(threads=threads, hint=hint, cache_dir=cache_dir)
    opened = Source(source)
    if device == "tensorrt" and warm == "background":
        from edgekit.runtimes.tensorrt.background import open_warm

        return open_warm(opened, options, artifact=artifact)
    may_build = device == "tensorrt" and warm == "wait"
    return open_first(opened, options, device=device, artifact=artifact, may_build=may_build)


def open_first(
    opened: Source,
    options: SessionOptions,
    *,
    device: str = "auto",
    artifact: str | None = None,
    may_build: bool = False,
) -> Session:
    """Return a session on the first candidate that opens; see ``load``.

    Args:
        opened: The source.
        options: What is asked of the engine.
        device: As in ``load``.
        artifact: Likewise.
        may_build: Whether TensorRT may build an engine that is not in its store.
    """
    choice = choose(opened.artifacts, device=device, artifact=artifact)
    candidates = choice.candidates
    if any(item.runtime == "tensorrt" for item in candidates):
        candidates, options = _for_tensorrt(candidates, opened, options, may_build=may_build)
    failures: list[str] = []
    for candidate in candidates:
        try:
            reason = "; ".join((candidate.why, *(f"not {failure}" for failure in failures)))
            session = opened.open(candidate, _own(options, candidate), reason=reason)
        except EngineError as error:
            if device != "auto":
                raise
            failures.append(f"{candidate}: {error}")
        except ImportError as error:  # installed, but not for this system: an older glibc
            failures.append(f"{candidate}: it cannot be imported: {error}")
        else:
            logger.info("%s runs %s: %s", session.runtime, session.artifact.name, session.reason)
            return session
    raise choice.to_error(failures)


def _for_tensorrt(
    candidates: Sequence[Candidate], opened: Source, options: SessionOptions, *, may_build: bool
) -> tuple[tuple[Candidate, ...], SessionOptions]:
    """Return the candidates in the order measured here, and options that say what may be built."""
    from edgekit.runtimes.engines import EngineStore
    from edgekit.runtimes.tensorrt.prepare import EngineOptions
    from edgekit.runtimes.tensorrt.ready import in_order

    engine = options.engine or EngineOptions(may_build=may_build)
    ordered = in_order(candidates, opened, EngineStore(options.cache_dir))
    return ordered, replace(options, engine=engine)


def _own(options: SessionOptions, candidate: Candidate) -> SessionOptions:
    """Return the options without those of another runtime."""
    return options if candidate.runtime == "tensorrt" else replace(options, engine=None)
