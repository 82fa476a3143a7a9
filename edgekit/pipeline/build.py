"""Load, simplify, emit: from the source model to artifacts in a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.artifact import Artifact
from edgekit.converters.emitters import EMITTERS
from edgekit.converters.frontends import frontend_of
from edgekit.converters.passes import simplify
from edgekit.converters.quantize.scheme import SCHEMES
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.pipeline.progress import Progress
from edgekit.pipeline.shapes import give_shapes, graph_for
from edgekit.preprocess import Preprocess
from edgekit.quantized import QuantizedGraph
from edgekit.registry import pick, unknown_name
from edgekit.target import Target, pick_target


@dataclass(frozen=True)
class Built:
    """An artifact as its emitter wrote it.

    Args:
        artifact: Its ``files`` are relative to ``folder``.
        folder: Holds its files and nothing else.
        graph: What was emitted: the simplified model, with the target's shapes.
        nbytes: Size of its files together.
        note: What was fixed for the target, or ``""``.
    """

    artifact: Artifact
    folder: Path
    graph: Graph
    nbytes: int
    note: str = ""


def load_source(model: Path, *, shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """Return the source model as a graph, with the caller's shapes."""
    graph: Graph = frontend_of(model).load()(model, shapes=None)
    return give_shapes(graph, shapes)


def pick_targets(targets: Sequence[Target | str]) -> tuple[Target, ...]:
    """Return the targets, each artifact once.

    Raises:
        UsageError: There is none, a name is unknown, or two make the same artifact.
    """
    picked = [pick_target(item) if isinstance(item, str) else item for item in targets]
    if not picked:
        raise UsageError("no target is given; choose one or more, such as --target openvino")
    made: dict[str, Target] = {}
    for target in picked:
        name = artifact_name(target)
        if name in made:
            raise UsageError(
                f"targets {made[name].name!r} and {target.name!r} are both the artifact {name}; "
                "give one of them"
            )
        made[name] = target
    return tuple(picked)


def artifact_name(target: Target) -> str:
    """Return the name of the target's artifact."""
    return f"{target.format}-{target.precision}"


def is_quantized(target: Target) -> bool:
    """Whether the target needs a table of codes."""
    return artifact_name(target) in SCHEMES


def named_steps(
    preprocess: Mapping[str, Preprocess], inputs: Sequence[str]
) -> dict[str, Preprocess]:
    """Return the preprocessing by input name; ``""`` means the only input.

    Raises:
        UsageError: There are several.
    """
    if "" in preprocess and len(inputs) != 1:
        raise UsageError(
            f"the preprocessing names no input, but the model has {', '.join(inputs)}; "
            "give it as NAME:STEPS"
        )
    return {name or inputs[0]: steps for name, steps in preprocess.items()}


def check_input_names(names: Mapping[str, Preprocess], graph: Graph) -> None:
    """Raise ``UsageError`` where preprocessing is given for an input that is not there."""
    for name in names:
        if name not in graph.input_names:
            raise UsageError(unknown_name(name, graph.input_names, kind="input"))


def emit(
    graph: Graph,
    target: Target,
    stage: Path,
    *,
    fused: Mapping[str, Preprocess],
    progress: Progress,
    quantized: Callable[[Graph], QuantizedGraph] | None = None,
) -> Built:
    """Return the target's artifact, written into a folder of its own under ``stage``.

    Args:
        graph: The simplified model.
        target: What to make.
        stage: Where artifacts are put together.
        fused: Preprocessing to put into the artifact, by input name.
        progress: Told the artifact's name.
        quantized: Gives the graph, in the target's shapes, its table; for int8 targets.
    """
    name = artifact_name(target)
    progress(f"emit {name}")
    fitted, note = graph_for(graph, target)
    if fitted is not graph:
        # Sizes that are known now make more constants.
        fitted = simplify(fitted)
    folder = stage / name
    folder.mkdir()
    emitter = pick(EMITTERS, target.format, kind="emitter").load()
    source = fitted if quantized is None else quantized(fitted)
    artifact: Artifact = emitter(source, folder, target=target, preprocess=fused or None)
    nbytes = sum((folder / file).stat().st_size for file in artifact.files.values())
    return Built(artifact, folder, fitted, nbytes, note)
