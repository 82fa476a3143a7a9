"""What to build: the file, flags and limits for one release, decided before anything is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from edgekit.artifact import Artifact, ArtifactFiles
from edgekit.bundle.hashing import file_sha256
from edgekit.errors import TensorRtError, UsageError
from edgekit.runtimes.tensorrt.profile import Profile, fit_profiles, parse_profile
from edgekit.runtimes.tensorrt.release import Release

__all__ = ["BuildOptions", "BuildSpec", "Profile", "Release", "parse_profile", "plan_build"]

_WORKSPACE_MIB = 512
_STRONG = "STRONGLY_TYPED"


@dataclass(frozen=True)
class BuildOptions:
    """What the user may decide; None leaves it to the recipe or to TensorRT.

    Args:
        profiles: Shapes; may leave out inputs whose assumed ones do.
        workspace_mib: Scratch memory for kernels.
        optimization_level: 0 to 5: how long to search for kernels.
        dla_core: Deep learning accelerator to run on; None is the GPU.
        gpu_fallback: Whether the GPU may take what the accelerator cannot run.
        timing_cache: File of measured kernels, read and written.
        is_detailed: Whether the engine keeps what its layers are, for reports.
        compute_capabilities: Of the GPUs to build for, such as ``"8.6"``; TensorRT-RTX only.
        strongly_typed: Whether types come from the file where a release can do both.
    """

    profiles: tuple[Profile, ...] = ()
    workspace_mib: int | None = None
    optimization_level: int | None = None
    dla_core: int | None = None
    gpu_fallback: bool = True
    timing_cache: Path | None = None
    is_detailed: bool = True
    compute_capabilities: tuple[str, ...] = ()
    strongly_typed: bool | None = None


@dataclass(frozen=True)
class BuildSpec:
    """All that a builder needs; goes to a child process as JSON.

    Args:
        model: ONNX file.
        model_sha256: Of its bytes.
        precision: The artifact's.
        release: That it was planned for.
        calibration: Calibration cache for a builder that quantizes by itself, or None.
        calibration_sha256: Of its bytes, or ``""``.
        strongly_typed: Whether the types are the file's.
        builder_flags: By their names in TensorRT's ``BuilderFlag``.
        network_flags: By their names in ``NetworkDefinitionCreationFlag``.
        profiles: Shapes of dynamic inputs.
        workspace_mib, optimization_level, dla_core, gpu_fallback, timing_cache, is_detailed,
        compute_capabilities: As in ``BuildOptions``.
    """

    model: Path
    model_sha256: str
    precision: str
    release: Release
    calibration: Path | None = None
    calibration_sha256: str = ""
    strongly_typed: bool = False
    builder_flags: tuple[str, ...] = ()
    network_flags: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = ()
    workspace_mib: int = _WORKSPACE_MIB
    optimization_level: int | None = None
    dla_core: int | None = None
    gpu_fallback: bool = True
    timing_cache: Path | None = None
    is_detailed: bool = True
    compute_capabilities: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BuildSpec:
        """Read what ``to_json`` wrote."""
        values = dict(data)
        for name in ("model", "calibration", "timing_cache"):
            values[name] = None if values[name] is None else Path(values[name])
        for name in ("builder_flags", "network_flags", "compute_capabilities"):
            values[name] = tuple(map(str, values[name]))
        values["profiles"] = tuple(map(Profile.from_json, values["profiles"]))
        values["release"] = Release.parse(values["release"])
        return cls(**values)

    def settings(self) -> dict[str, Any]:
        """Return what of it decides the engine's bytes, JSON-ready: no paths."""
        skipped = ("model", "calibration", "timing_cache", "release")
        return {name: value for name, value in self.to_json().items() if name not in skipped}


def plan_build(
    artifact: Artifact,
    files: ArtifactFiles,
    release: Release,
    *,
    options: BuildOptions | None = None,
    folder: Path,
    plain: tuple[Artifact, ArtifactFiles] | None = None,
) -> BuildSpec:
    """Return what to build from an artifact with this release.

    Args:
        artifact: Of format ``"tensorrt"``, with its recipe.
        files: Where its files are.
        release: That will build.
        options: What the user decided.
        folder: Where files that lie inside a zip are written to.
        plain: The float artifact of the same model, for int8 on an accelerator (DLA) before
            TensorRT 11: that takes no Q/DQ pairs, but a float file and a calibration cache.

    Raises:
        UsageError: The artifact is none for TensorRT, or an option contradicts it.
        TensorRtError: This release cannot build it.
    """
    chosen = options or BuildOptions()
    recipe = artifact.recipe
    chosen = replace(chosen, dla_core=_first(chosen.dla_core, recipe.get("dla_core")))
    if not recipe.get("builds"):
        raise UsageError(f"artifact {artifact.name!r} has no recipe for TensorRT")
    if not release.in_range(f">={recipe.get('oldest_tensorrt', '8.5')}"):
        raise TensorRtError(
            f"{artifact.name} needs TensorRT {recipe['oldest_tensorrt']} or later for its "
            f"operators; here is {release}"
        )
    entry = _entry(recipe["builds"], release, strongly_typed=chosen.strongly_typed)
    role, calibration = str(entry["file"]), None
    source, flags = (artifact, files), tuple(map(str, entry.get("builder_flags", ())))
    if (
        chosen.dla_core is not None
        and artifact.precision == "int8"
        and not release.in_range(">=11")
    ):
        source, role = _float_source(artifact, plain), "model"
        calibration = _on_disk(files, "calibration", folder, artifact)
        # A typed network takes no calibrator, and a DLA runs int8 and float16 only.
        entry, flags = {**entry, "network_flags": _without_strong(entry)}, ("INT8", "FP16")
    model = _on_disk(source[1], role, folder, source[0])
    names = tuple(map(str, entry.get("network_flags", ())))
    profiles = fit_profiles(
        chosen.profiles,
        artifact.inputs,
        assumed=tuple(map(Profile.from_json, recipe.get("profiles", ()))),
    )
    _check_dla(chosen, profiles)
    return BuildSpec(
        model=model,
        model_sha256=file_sha256(model),
        precision=artifact.precision,
        release=release,
        calibration=calibration,
        calibration_sha256="" if calibration is None else file_sha256(calibration),
        strongly_typed=_STRONG in names or release.in_range(">=11"),
        builder_flags=flags,
        network_flags=names,
        profiles=profiles,
        workspace_mib=chosen.workspace_mib or int(recipe.get("workspace_mib", _WORKSPACE_MIB)),
        optimization_level=_first(chosen.optimization_level, recipe.get("optimization_level")),
        dla_core=chosen.dla_core,
        gpu_fallback=chosen.gpu_fallback,
        timing_cache=chosen.timing_cache,
        is_detailed=chosen.is_detailed,
        compute_capabilities=chosen.compute_capabilities,
    )


def _entry(
    builds: Sequence[Mapping[str, Any]], release: Release, *, strongly_typed: bool | None
) -> Mapping[str, Any]:
    """Return the first entry for the release, in the form that was asked for."""
    for entry in builds:
        if not release.in_range(str(entry["tensorrt"])):
            continue
        forms = [entry]
        if "alternative" in entry:
            forms.append({"builder_flags": [], **entry["alternative"]})
        for form in forms:
            is_strong = _STRONG in form.get("network_flags", ()) or release.in_range(">=11")
            if strongly_typed is None or is_strong == strongly_typed:
                return form
        raise TensorRtError(
            f"the recipe has no {'strongly' if strongly_typed else 'weakly'} typed form for "
            f"TensorRT {release}; leave that choice out"
        )
    ranges = ", ".join(str(entry["tensorrt"]) for entry in builds)
    raise TensorRtError(f"TensorRT {release} is in none of the recipe's ranges: {ranges}")


def _float_source(
    artifact: Artifact, plain: tuple[Artifact, ArtifactFiles] | None
) -> tuple[Artifact, ArtifactFiles]:
    if plain is not None and plain[0].precision in ("fp32", "fp16"):
        return plain
    raise TensorRtError(
        f"{artifact.name} on a DLA needs the float model beside the calibration cache before "
        "TensorRT 11; convert with --target tensorrt:fp16 --target tensorrt:int8 into one bundle"
    )


def _check_dla(options: BuildOptions, profiles: Sequence[Profile]) -> None:
    for profile in profiles if options.dla_core is not None else ():
        for name, (low, _, high) in profile.shapes.items():
            if low != high:
                raise UsageError(
                    f"input {name!r} has dynamic sizes, which a DLA cannot run; "
                    f"fix them: --shape {name}:{'x'.join(map(str, low))}"
                )


def _without_strong(entry: Mapping[str, Any]) -> list[str]:
    return [name for name in entry.get("network_flags", ()) if name != _STRONG]


def _first(chosen: int | None, recipe: int | None) -> int | None:
    """Return what the user decided, else what the recipe says."""
    return recipe if chosen is None else chosen


def _on_disk(files: ArtifactFiles, role: str, folder: Path, artifact: Artifact) -> Path:
    if role not in artifact.files:
        raise TensorRtError(f"artifact {artifact.name!r} has no file {role!r} for this release")
    path = files.path(role)
    if path is not None:
        return path
    path = folder / f"{artifact.name}-{Path(artifact.files[role]).name}"
    path.write_bytes(files.read(role))
    return path


def _plain(value: object) -> object:
    if isinstance(value, (Path, Release)):
        return str(value)
    if isinstance(value, Profile):
        return value.to_json()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
