"""From an artifact to an engine that fits this machine: found in the store, or built."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekit.artifact import Artifact, ArtifactFiles
from edgekit.errors import EngineMismatchError
from edgekit.runtimes.engines import DeviceFacts, EngineKey, EngineStore, StoredEngine
from edgekit.runtimes.tensorrt.child import ChildResult, Limits, OutOfMemory, Status, run_child
from edgekit.runtimes.tensorrt.release import Release
from edgekit.runtimes.tensorrt.spec import BuildOptions, BuildSpec, plan_build

_BUILDER = "edgekit.runtimes.tensorrt.build"
_LEAST_WORKSPACE_MIB = 64
_USUAL_LEVEL = 3
"""TensorRT's own optimization level where none is given."""

Watch = Callable[[Status], None]
"""Told about four times a second how far the build is. What it raises ends the build."""

Plain = tuple[Artifact, ArtifactFiles]
"""The float artifact of the same model, for int8 on a DLA before TensorRT 11."""


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How a session comes to its engine.

    Args:
        build: What the user decided about the engine.
        may_build: Whether one that is not in the store is built.
        limits: What the build may take.
        watch: Told how far it is.
        plain: The float artifact of the same model, for int8 on a DLA before TensorRT 11.
    """

    build: BuildOptions = field(default_factory=BuildOptions)
    may_build: bool = True
    limits: Limits | None = None
    watch: Watch | None = None
    plain: Plain | None = None


@dataclass(frozen=True)
class Wanted:
    """An engine that is to be had.

    Args:
        key: What it has to fit.
        spec: How it is built.
    """

    key: EngineKey
    spec: BuildSpec


def want(
    artifact: Artifact,
    files: ArtifactFiles,
    *,
    release: Release,
    device: DeviceFacts,
    options: BuildOptions,
    folder: Path,
    plain: Plain | None = None,
) -> Wanted:
    """Return which engine an artifact becomes on a device.

    Args:
        artifact: Of format ``"tensorrt"``.
        files: Its files.
        release: Of the TensorRT that builds.
        device: Where it runs.
        options: What the user decided.
        folder: Where files that lie inside a zip are written to; kept while it is built.
        plain: The float artifact of the same model.
    """
    spec = plan_build(artifact, files, release, options=options, folder=folder, plain=plain)
    return Wanted(EngineKey(device, spec.settings()), spec)


def get_engine(
    wanted: Wanted,
    store: EngineStore,
    *,
    may_build: bool = True,
    limits: Limits | None = None,
    watch: Watch | None = None,
) -> StoredEngine:
    """Return the engine: from the store, or built in a child once for all processes.

    Args:
        wanted: What to have.
        store: Where engines are kept.
        may_build: Whether one that is not there is built.
        limits: What the build may take.
        watch: Told how far it is, also while another process builds the same.

    Raises:
        EngineMismatchError: It is not there and may not be built; the message says in what
            the nearest one differs.
        TensorRtError: It cannot be built.
    """
    found = store.find(wanted.key)
    if found is not None:
        return found
    if not may_build:
        raise EngineMismatchError(_why_not(wanted.key, store))

    def wait(seconds: float) -> None:
        if watch is not None:
            watch(Status("wait for another process to build it", None, seconds, None))

    timing = store.timing_cache(wanted.key.device)
    spec = replace(wanted.spec, timing_cache=wanted.spec.timing_cache or timing)
    return store.get_or_build(
        wanted.key,
        lambda plan: build_plan(spec, plan, limits=limits, watch=watch),
        waiting=wait,
    )


def engine_of(
    artifact: Artifact,
    files: ArtifactFiles,
    *,
    release: Release,
    device: DeviceFacts,
    store: EngineStore,
    options: EngineOptions,
) -> StoredEngine:
    """Return an artifact's engine for a device; see ``want`` and ``get_engine``."""
    with tempfile.TemporaryDirectory(prefix="edgekit-model-") as folder:
        wanted = want(
            artifact,
            files,
            release=release,
            device=device,
            options=options.build,
            folder=Path(folder),
            plain=options.plain,
        )
        return get_engine(
            wanted,
            store,
            may_build=options.may_build,
            limits=options.limits,
            watch=options.watch,
        )


def build_plan(
    spec: BuildSpec, plan: Path, *, limits: Limits | None = None, watch: Watch | None = None
) -> Mapping[str, Any]:
    """Build in a child; once more with less where memory was short.

    Returns:
        What was measured: seconds by stage, peak memory, whether it was built smaller.

    Raises:
        TensorRtError: It cannot be built.
    """
    try:
        return _facts(_run(spec, plan, limits, watch), retried_smaller=False)
    except OutOfMemory as error:
        small = smaller(spec)
        if watch is not None:
            watch(Status(f"once more with {small.workspace_mib} MiB of workspace", None, 0.0, None))
        try:
            return _facts(_run(small, plan, limits, watch), retried_smaller=True)
        except OutOfMemory as again:
            raise OutOfMemory(f"{again}\nthe try before: {error}") from error


def smaller(spec: BuildSpec) -> BuildSpec:
    """Return a spec whose build takes less memory: less to work in, fewer kernels to try."""
    level = _USUAL_LEVEL if spec.optimization_level is None else spec.optimization_level
    return replace(
        spec,
        workspace_mib=max(_LEAST_WORKSPACE_MIB, spec.workspace_mib // 2),
        optimization_level=max(0, level - 2),
    )


def _run(spec: BuildSpec, plan: Path, limits: Limits | None, watch: Watch | None) -> ChildResult:
    with tempfile.TemporaryDirectory(prefix="edgekit-build-") as folder:
        document = Path(folder, "spec.json")
        document.write_text(json.dumps(spec.to_json()), encoding="utf-8")
        return run_child(("-m", _BUILDER, str(document), str(plan)), limits=limits, watch=watch)


def _facts(result: ChildResult, *, retried_smaller: bool) -> dict[str, Any]:
    return {
        **result.facts,
        "wall_s": round(result.seconds, 3),
        "peak_mib": result.peak_mib,
        "retried_smaller": retried_smaller,
        "warnings": list(result.warnings),
    }


def _why_not(key: EngineKey, store: EngineStore) -> str:
    near = store.near(key)
    what = "there is no engine of this model here"
    if near is not None:
        what = f"the engine {near.path.name} is for {'; '.join(key.differences(near.key))}"
    return f"{what}; run: edgekit build, or load it with warm='background'"
