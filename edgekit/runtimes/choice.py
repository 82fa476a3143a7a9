"""Which runtime is to run which artifact on this machine, and why."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgekit.artifact import Artifact
from edgekit.errors import RuntimeUnavailableError, UsageError
from edgekit.registry import unknown_name
from edgekit.runtimes import RUNTIME_FORMATS, RUNTIMES, SIMULATED_FORMATS
from edgekit.runtimes.usable import NEEDS_GPU, why_unusable

_X86 = frozenset({"x86_64", "amd64", "i386", "i686"})
_ARM = ("aarch64", "arm")

# A GPU before any CPU; then the one that is fastest on its own ground first. OpenVINO is
# Intel's and runs on any x86; XNNPACK, in LiteRT, is written for arm first.
_PREFERENCE = {
    "x86": ("tensorrt", "openvino", "onnxruntime", "litert"),
    "arm": ("tensorrt", "litert", "onnxruntime", "openvino"),
    "other": ("tensorrt", "onnxruntime", "litert", "openvino"),
}


@dataclass(frozen=True)
class Candidate:
    """A runtime for an artifact.

    Args:
        runtime: Name in ``RUNTIMES``.
        artifact: What it would run.
        why: Why it stands where it does in the list.
    """

    runtime: str
    artifact: Artifact
    why: str

    def __str__(self) -> str:
        return f"{self.runtime} with {self.artifact.name}"


@dataclass(frozen=True)
class Choice:
    """What can be tried, best first, and why the rest cannot.

    Args:
        candidates: Best first.
        refused: Per runtime that was considered and is out, the reason.
    """

    candidates: tuple[Candidate, ...]
    refused: tuple[str, ...]

    def to_error(self, failures: Iterable[str] = ()) -> RuntimeUnavailableError:
        """Return the error that lists every runtime and why it does not run."""
        lines = [*failures, *self.refused]
        return RuntimeUnavailableError(
            "no runtime on this machine can run it:\n" + "\n".join(f"  {line}" for line in lines)
        )


def cpu_family(machine: str | None = None) -> str:
    """Return ``"x86"``, ``"arm"`` or ``"other"`` for a machine name; None is this machine's."""
    name = (platform.machine() if machine is None else machine).lower()
    if name in _X86:
        return "x86"
    return "arm" if name.startswith(_ARM) else "other"


def choose(
    artifacts: Sequence[Artifact],
    *,
    device: str = "auto",
    artifact: str | None = None,
    machine: str | None = None,
) -> Choice:
    """Return what to try, in order.

    Args:
        artifacts: What the bundle holds.
        device: ``"auto"`` or a runtime's name.
        artifact: Name of the only artifact to consider; None is any.
        machine: As ``platform.machine()`` would name it; None is this one.

    Raises:
        UsageError: There is no such device or artifact.
        MissingDependencyError: The named runtime is not installed.
        RuntimeUnavailableError: The named runtime needs a GPU, and there is none.
    """
    if artifact is not None:
        named = [item for item in artifacts if item.name == artifact]
        if not named:
            names = tuple(item.name for item in artifacts)
            raise UsageError(unknown_name(artifact, names, kind="artifact"))
        artifacts = named
    if device != "auto":
        return _choose_named(device, artifacts, is_artifact_named=artifact is not None)
    family = cpu_family(machine)
    candidates: list[Candidate] = []
    refused: list[str] = []
    unmissed: list[str] = []  # a GPU that is not here is no reason why a CPU was taken
    for runtime in _PREFERENCE[family]:
        able = _runnable(runtime, artifacts, RUNTIME_FORMATS[runtime])
        if not able:
            if runtime not in NEEDS_GPU:  # nobody misses a GPU's engine in a bundle for CPUs
                refused.append(_nothing_to_run(runtime, artifacts))
        elif why_not := why_unusable(runtime):
            (unmissed if runtime in NEEDS_GPU else refused).append(f"{runtime}: {why_not}")
        else:
            why = _preferred(runtime, family, after=refused)
            candidates.extend(Candidate(runtime, item, why) for item in able)
    return Choice(tuple(candidates), (*refused, *unmissed))


def _choose_named(device: str, artifacts: Sequence[Artifact], *, is_artifact_named: bool) -> Choice:
    if device not in RUNTIMES:
        raise UsageError(unknown_name(device, ("auto", *RUNTIMES), kind="device"))
    if device in NEEDS_GPU and (why_not := why_unusable(device)):
        raise RuntimeUnavailableError(f"{device}: {why_not}")
    if RUNTIMES[device].missing():
        RUNTIMES[device].load()  # raises, with the line that installs it
    why = f"{device} was asked for by name"
    able = [
        Candidate(device, item, why)
        for item in _runnable(device, artifacts, RUNTIME_FORMATS[device])
    ]
    if is_artifact_named:
        simulation = (
            f"{why}: a simulation of {{format}} on the CPU, which shows the numbers of the graph, "
            "not the speed or the rounding of the engine that will run it"
        )
        able += [
            Candidate(device, item, simulation.format(format=item.format))
            for item in _runnable(device, artifacts, SIMULATED_FORMATS.get(device, ()))
        ]
    return Choice(tuple(able), () if able else (_nothing_to_run(device, artifacts),))


def _runnable(
    runtime: str, artifacts: Sequence[Artifact], formats: Sequence[str]
) -> list[Artifact]:
    return [item for wanted in formats for item in artifacts if item.format == wanted]


def _nothing_to_run(runtime: str, artifacts: Sequence[Artifact]) -> str:
    there = ", ".join(item.name for item in artifacts) or "nothing"
    return f"{runtime}: runs {' and '.join(RUNTIME_FORMATS[runtime])}; there is {there}"


def _preferred(runtime: str, family: str, *, after: Sequence[str]) -> str:
    ground = {"x86": "an x86 CPU", "arm": "an arm CPU", "other": "this CPU"}[family]
    ground = "an NVIDIA GPU" if runtime in NEEDS_GPU else ground
    return "; ".join(
        (f"{runtime} is installed and suits {ground} best", *(f"not {line}" for line in after))
    )
