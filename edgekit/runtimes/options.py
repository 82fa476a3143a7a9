"""How a session is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.registry import unknown_name

if TYPE_CHECKING:
    from edgekit.runtimes.tensorrt.prepare import EngineOptions

HINTS = ("latency", "throughput")
INFERENCE_PRECISIONS = ("fp32", "bf16", "fp16", "auto")
GRAPH_OPTIMIZATIONS = ("none", "basic", "extended", "all")


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """What the caller asks of the engine; one that it cannot honour is refused.

    Args:
        threads: CPU threads of one call; None leaves it to the engine.
        hint: ``"latency"``: one call after the other, each as fast as can be.
            ``"throughput"``: as many calls at once as the CPU takes.
        cache_dir: Folder where an engine that compiles keeps the result for the next
            start (OpenVINO, TensorRT); an engine that compiles nothing has no use for it.
        inference_precision: What the engine computes in. OpenVINO on a CPU with AMX
            takes bf16 unless told otherwise: 3 to 5 times faster, and other numbers;
            so ``"fp32"`` is the default here, and ``"auto"`` leaves it to the engine.
            ``Session.inference_precision`` says what was taken.
        graph_optimization: ONNX Runtime's level, one of ``GRAPH_OPTIMIZATIONS``; None
            is its own default.
        xnnpack: Whether LiteRT delegates to XNNPACK; None is yes.
        engine: How TensorRT's engine is built; None is as the artifact's recipe says.
        profile: Whether the engine measures its steps, for ``EngineSession.step_times``; that
            slows it down, and needs the hint ``"latency"`` (ONNX Runtime, OpenVINO).

    Raises:
        UsageError: A value is not among the choices.
    """

    threads: int | None = None
    hint: str = "latency"
    cache_dir: Path | None = None
    inference_precision: str = "fp32"
    graph_optimization: str | None = None
    xnnpack: bool | None = None
    engine: EngineOptions | None = None
    profile: bool = False

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"{self.threads} threads; at least 1, or None for the engine's choice")
        _check(self.hint, HINTS, kind="hint")
        _check(self.inference_precision, INFERENCE_PRECISIONS, kind="inference precision")
        if self.profile and self.hint != "latency":
            raise UsageError(
                f"a profile is of calls one after the other, the hint is {self.hint!r}; "
                "leave one of the two out"
            )
        if self.graph_optimization is not None:
            _check(self.graph_optimization, GRAPH_OPTIMIZATIONS, kind="graph optimization")


def _check(value: str, choices: tuple[str, ...], *, kind: str) -> None:
    if value not in choices:
        raise UsageError(unknown_name(value, choices, kind=kind))
