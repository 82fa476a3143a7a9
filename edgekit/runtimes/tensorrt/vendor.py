"""The vendor's module as it is here: its release, what it can, its log, its failures.

What differs between releases is asked by name (``hasattr``, enum members), never by number:
TensorRT gives ``STRONGLY_TYPED`` bit 1 in release 10 and bit 0 in 11.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from edgekit.errors import EngineMismatchError, TensorRtError
from edgekit.runtimes.tensorrt.explain import explain, node_of
from edgekit.runtimes.tensorrt.log import SEVERITIES, Log
from edgekit.runtimes.tensorrt.release import Release

_FEATURES = {
    "builder": "Builder",
    "strongly_typed": "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
    "explicit_batch_flag": "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
    "fp16_flag": "BuilderFlag.FP16",
    "int8_flag": "BuilderFlag.INT8",
    "calibrator": "IInt8EntropyCalibrator2.read_calibration_cache",
    "optimization_level": "IBuilderConfig.builder_optimization_level",
    "timing_cache": "IBuilderConfig.create_timing_cache",
    "progress": "IBuilderConfig.progress_monitor",
    "compute_capabilities": "IBuilderConfig.num_compute_capabilities",
    "dla": "IBuilderConfig.DLA_core",
    "named_tensors": "IExecutionContext.execute_async_v3",
    "inspector": "ICudaEngine.create_engine_inspector",
    "plugins": "init_libnvinfer_plugins",
    "engine_validity": "Runtime.get_engine_validity",
}
"""What the adapter asks for, by the name in the module that shows it."""

_NOISE = ("catchCudaError", "While parsing node number", "--- Begin node", "--- End node")
_SHOWN_LINES, _SHOWN_LENGTH = 3, 400


class Vendor:
    """One edition of TensorRT, imported.

    Args:
        module: ``tensorrt``, ``tensorrt_lean``, ``tensorrt_dispatch`` or ``tensorrt_rtx``.
        edition: One of ``release.EDITIONS``.

    Attributes:
        module: As given.
        release: Its version and edition.
        log: All that it writes, from every object made here.
    """

    def __init__(self, module: Any, edition: str) -> None:
        self.module = module
        self.release = Release.parse(str(module.__version__), edition=edition)
        self.log = Log()
        self._listeners: weakref.WeakSet[Log] = weakref.WeakSet()

    @cached_property
    def features(self) -> dict[str, bool]:
        """What this release has."""
        return {name: self.has(path) for name, path in _FEATURES.items()}

    @property
    def can_build(self) -> bool:
        """Whether it has a builder; the lean and dispatch editions only run."""
        return self.features["builder"]

    def has(self, path: str) -> bool:
        """Return whether the module has ``"Class.member"``."""
        place = self.module
        for name in path.split("."):
            if not hasattr(place, name):
                return False
            place = getattr(place, name)
        return True

    def member(self, enum: str, name: str) -> Any:
        """Return an enum's member by name.

        Raises:
            TensorRtError: This release has none of that name.
        """
        kind = getattr(self.module, enum)
        if not hasattr(kind, name):
            there = ", ".join(sorted(kind.__members__))
            raise TensorRtError(
                f"TensorRT {self.release} has no {enum}.{name}; it has: {there}. "
                "The bundle's recipe is for another release; convert again"
            )
        return getattr(kind, name)

    def listen(self, log: Log | None) -> None:
        """Send what the library writes to this log as well, as long as it lives."""
        if log is not None:
            self._listeners.add(log)

    @cached_property
    def logger(self) -> Any:
        """The vendor's logger over ``log``.

        One for the module: TensorRT keeps the first that a process gives it and ignores others.
        """
        names = {self.member("ILogger", "Severity").__members__[n.upper()]: n for n in SEVERITIES}

        def write(_self: Any, severity: Any, message: str) -> None:
            if severity in names:
                for log in (self.log, *self._listeners):
                    log.add(names[severity], message)

        return self.derive("ILogger", {"log": write})

    def derive(self, base: str, methods: Mapping[str, Callable[..., Any]]) -> Any:
        """Return an object of a class of ours over one of the vendor's, which calls it back."""
        return type(f"EdgeKit{base}", (getattr(self.module, base),), dict(methods))()

    def failure(
        self,
        attempt: str,
        *,
        since: int = 0,
        node: str | None = None,
        said: Sequence[str] = (),
        default: str = "",
    ) -> TensorRtError | EngineMismatchError:
        """Return the error for a call that gave back None, False or -1.

        Args:
            attempt: What was tried, as a noun: ``"building the engine"``.
            since: Mark of the log before the call.
            node: ONNX node, where the caller knows it.
            said: What the library said elsewhere than in its log.
            default: What to do where nothing of the log is known.
        """
        lines = [*said, *self.log.errors(since)]
        meaning = explain(lines, release=self.release)
        where = node or (meaning.node if meaning else None) or node_of(lines)
        parts = [f"TensorRT {self.release} failed in {attempt}"]
        parts += [f" at node {where}"] if where else []
        parts += [f": {meaning.cause}"] if meaning else []
        parts += [f"; {meaning.fix}"] if meaning else [f"; {default}"] if default else []
        shown = _shown(lines, [meaning.line] if meaning else [])
        parts += [f"\n  NVIDIA's log: {line}" for line in shown]
        parts += ["\n  NVIDIA's log is empty"] if not shown else []
        kind = EngineMismatchError if meaning and meaning.is_mismatch else TensorRtError
        return kind("".join(parts))


def _shown(lines: Sequence[str], first: Iterable[str]) -> list[str]:
    """Return the lines that tell something, what was explained first, each once."""
    useful = [line for line in lines if not any(noise in line for noise in _NOISE)] or lines
    chosen = list(dict.fromkeys([*first, *reversed(useful)]))[:_SHOWN_LINES]
    return [" ".join(line.split())[:_SHOWN_LENGTH] for line in chosen]
