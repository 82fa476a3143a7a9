"""Open a bundle or a model file on the runtime that suits this machine."""

from __future__ import annotations

import logging
from pathlib import Path

from edgekit.bundle import Bundle
from edgekit.errors import EngineError
from edgekit.runtimes.choice import choose
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.session import Session
from edgekit.runtimes.source import Source

logger = logging.getLogger(__name__)


def load(
    source: str | Path | Bundle,
    *,
    device: str = "auto",
    artifact: str | None = None,
    threads: int | None = None,
    hint: str = "latency",
    cache_dir: Path | None = None,
    options: SessionOptions | None = None,
) -> Session:
    """Return a session that runs the model.

    Args:
        source: A bundle, or the path of one, or of a plain ``.onnx``, ``.tflite`` or
            ``.xml`` file, whose inputs and outputs are then as the engine tells them.
        device: ``"auto"`` takes what suits the CPU, is installed, and has an artifact;
            a runtime's name takes that one or fails.
        artifact: Name of the artifact to run, such as ``"openvino-fp16"``; None takes
            the first that the runtime can run.
        threads: CPU threads of one call; None leaves it to the engine.
        hint: ``"latency"`` or ``"throughput"``.
        cache_dir: Where an engine that compiles keeps the result.
        options: All options at once, instead of the three above.

    Returns:
        A session; its ``reason`` says why this runtime was taken.

    Raises:
        UsageError: There is no such device, artifact or file.
        BundleError: The bundle cannot be read.
        MissingDependencyError: The named runtime is not installed.
        RuntimeUnavailableError: Nothing on this machine can run it; the message lists
            every runtime and why it cannot.
        EngineError: The named runtime failed to load it.
    """
    options = options or SessionOptions(threads=threads, hint=hint, cache_dir=cache_dir)
    opened = Source(source)
    choice = choose(opened.artifacts, device=device, artifact=artifact)
    failures: list[str] = []
    for candidate in choice.candidates:
        try:
            reason = "; ".join((candidate.why, *(f"not {failure}" for failure in failures)))
            session = opened.open(candidate, options, reason=reason)
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
