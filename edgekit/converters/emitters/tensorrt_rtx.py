"""An engine for desktop RTX GPUs, compiled here: TensorRT-RTX needs no GPU for that.

Its engine holds code for the compute capabilities that are named, and is finished on the GPU
when it is first loaded. It runs on desktop GPUs only, never on a Jetson.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgekit.artifact import Artifact
from edgekit.converters.emitters.tensorrt import emit as emit_model
from edgekit.graph import Graph
from edgekit.preprocess import Preprocess
from edgekit.quantized import QuantizedGraph
from edgekit.runtimes.tensorrt.api import open_api
from edgekit.runtimes.tensorrt.prepare import build_plan
from edgekit.runtimes.tensorrt.spec import BuildOptions, plan_build
from edgekit.target import Target

ENGINE_FILE = "model.engine"
COMPUTE_CAPABILITIES = ("8.6", "8.9", "12.0")
"""RTX 30, 40 and 50. Turing (7.5) is left out: its FP32 products are refused (1.7.1)."""


def emit(
    graph: Graph | QuantizedGraph,
    folder: Path,
    *,
    target: Target,
    preprocess: Mapping[str, Preprocess] | None = None,
) -> Artifact:
    """Compile the model in a child process.

    Role ``"engine"`` is the engine; role ``"model"`` is the ONNX file that it was compiled
    from, whose numbers can be looked at where there is no GPU.

    Args:
        graph: The model, simplified; with its table for int8.
        folder: Where to write; empty.
        target: Its precision is fp32, fp16 or int8.
        preprocess: By input name, what to put into the model.

    Raises:
        MissingDependencyError: TensorRT-RTX is not installed.
        TensorRtError: It does not compile the model; the node and the cause are named.
    """
    plain = replace(target, format="tensorrt")
    source = emit_model(graph, folder, target=plain, preprocess=preprocess)
    release = open_api("rtx", needs_builder=True).release
    spec = plan_build(
        source,
        _Folder(folder, source.files),
        release,
        options=BuildOptions(compute_capabilities=COMPUTE_CAPABILITIES),
        folder=folder,
    )
    facts = build_plan(spec, folder / ENGINE_FILE)
    kept = (spec.model.name, ENGINE_FILE)
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
    recipe = {
        "status": "unverified",
        "compiled_by": str(release),
        "compute_capabilities": list(COMPUTE_CAPABILITIES),
        "workspace_mib": spec.workspace_mib,
        "optimization_level": spec.optimization_level,
        "profiles": [profile.to_json() for profile in spec.profiles],
        "seconds": facts["wall_s"],
    }
    return replace(
        source,
        format="tensorrt-rtx",
        files={"model": spec.model.name, "engine": ENGINE_FILE},
        recipe=recipe,
    )


class _Folder:
    """Files by role in a folder; an ``ArtifactFiles``."""

    def __init__(self, folder: Path, names: Mapping[str, str]) -> None:
        self._folder = folder
        self._names = names

    def path(self, role: str) -> Path | None:
        return self._folder / self._names[role] if role in self._names else None

    def read(self, role: str) -> bytes:
        return (self._folder / self._names[role]).read_bytes()
