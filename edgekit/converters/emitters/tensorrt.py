"""What TensorRT needs to build its engine on the device: ONNX files and a recipe.

Engines fit one GPU and one TensorRT release, so the artifact is the model that TensorRT
parses, never an engine. TensorRT 11 has no precision flags and computes as the file says;
8.5 to 10 take a float32 file and a flag. So float16 comes as two files, and so does int8,
whose second one is float16 between the pairs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.artifact import Artifact
from edgekit.converters.emitters.facts import facts_of
from edgekit.converters.emitters.tensorrt_cache import CACHE_FILE, calibration_cache
from edgekit.converters.emitters.tensorrt_ranges import check_ranges, ranges_of_frames
from edgekit.converters.emitters.tensorrt_support import check_support, oldest_tensorrt
from edgekit.converters.emitters.tensorrt_typed import OPSETS as TYPED_OPSETS
from edgekit.converters.emitters.tensorrt_typed import half_codes, half_pairs, type_integers
from edgekit.converters.onnx_model import write_graph
from edgekit.converters.passes.expand_hard_swish import expand_hard_swish
from edgekit.converters.passes.expand_unpool import expand_unpool
from edgekit.converters.passes.fuse_preprocess import fuse_preprocess
from edgekit.converters.passes.lower_opset import lower_opset
from edgekit.converters.passes.type_half import type_half
from edgekit.converters.quantize.scheme import pick_scheme
from edgekit.converters.quantize.written import written_graph
from edgekit.errors import UnsupportedOperatorError
from edgekit.graph import Graph
from edgekit.preprocess import Preprocess
from edgekit.quantized import QuantizedGraph
from edgekit.target import ShapeRange, Target
from edgekit.tensor import Dim, TensorSpec

logger = logging.getLogger(__name__)

MODEL_FILE = "model.onnx"
TYPED_FILE = "model.typed.onnx"
OPSETS = (17, 20, 24)
"""The newest that TensorRT 8.5 (JetPack 5), 10.0 and 10.15 read."""
WORKSPACE_MIB = 512
"""Scratch memory for the builder: boards with 4 to 8 GB share it with the system."""


def emit(
    graph: Graph | QuantizedGraph,
    folder: Path,
    *,
    target: Target,
    preprocess: Mapping[str, Preprocess] | None = None,
) -> Artifact:
    """Write the model for TensorRT 8.5 to 11.

    Role ``"model"`` is the float32 file for 8.5 to 10; role ``"typed"``, for float16 and int8,
    is the file for 11 (and 10 in its strongly typed mode). Both int8 files have Q/DQ pairs;
    role ``"calibration"`` is the same table for a builder that quantizes by itself (a DLA): it
    goes with the float32 or float16 artifact of the same model.

    Args:
        graph: The model, simplified; with its table for int8.
        folder: Where to write; empty.
        target: Its precision is fp32, fp16 or int8.
        preprocess: By input name, what to put into the model.

    Raises:
        UnsupportedOperatorError: TensorRT's parser does not take a node.
        ShapeError: The target's ranges hold shapes that the model cannot have.
        ModelFormatError: A file is over ONNX's limit of 2 GiB.
    """
    fused = dict(preprocess or {})
    target = replace(target, ranges=ranges_of_frames(target.ranges, fused))
    table = graph if isinstance(graph, QuantizedGraph) else None
    graph = _prepared(written_graph(graph, target), fused)
    plain = _lowered(graph)
    check_support(plain)
    check_ranges(plain, target.ranges)
    facts = facts_of(graph, target=target, fused=fused)
    write_graph(replace(plain, metadata=facts), folder / MODEL_FILE)
    files = {"model": MODEL_FILE}
    typed = type_half(plain) if target.precision == "fp16" else None
    if table is not None:
        pairs = half_pairs(table, pick_scheme(target.format, target.precision))
        pairs = _lowered(_prepared(pairs, fused), TYPED_OPSETS)
        typed = type_integers(pairs, half_codes(table.codes))
    if typed is not None:
        check_support(typed)
        write_graph(replace(typed, metadata=facts), folder / TYPED_FILE)
        files["typed"] = TYPED_FILE
    if table is not None:
        (folder / CACHE_FILE).write_text(calibration_cache(table), encoding="ascii")
        files["calibration"] = CACHE_FILE
    return Artifact(
        format="tensorrt",
        precision=target.precision,
        files=files,
        inputs=graph.inputs,
        outputs=graph.outputs,
        recipe=build_recipe(plain, target=target, typed=typed),
        fused_preprocess=tuple(fused),
    )


def build_recipe(graph: Graph, *, target: Target, typed: Graph | None = None) -> dict[str, Any]:
    """Return what a builder needs to know, JSON-ready.

    ``builds`` is tried in order: the first entry whose range holds the installed TensorRT
    release says which file to parse, with which flags, by their names in its Python API.
    ``profiles`` gives min, opt and max shapes where sizes are dynamic; ``assumed`` lists
    the sizes in them that are EdgeKit's guess and not the model's.

    Args:
        graph: As the file ``"model"`` has it.
        target: Its ranges of shapes, and its settings, go into the recipe.
        typed: As the file ``"typed"`` has it, where there is one.
    """
    profile, assumed = _profile(graph.inputs, target.ranges)
    of_typed = {"typed_opset": typed.opset} if typed is not None else {}
    return {
        "status": "unverified",
        "opset": graph.opset,
        **of_typed,
        "oldest_tensorrt": oldest_tensorrt(graph),
        "builds": _builds(target.precision, has_typed=typed is not None),
        "profiles": [profile] if profile else [],
        "assumed": assumed,
        "workspace_mib": WORKSPACE_MIB,
        **target.build,
    }


def _prepared(graph: Graph, fused: Mapping[str, Preprocess]) -> Graph:
    """Return the graph with the preprocessing, and without operators that 8.5 lacks."""
    # TensorRT 8.4's list has no HardSwish; every one has HardSigmoid, and fuses both forms.
    graph = expand_hard_swish(expand_unpool(graph))
    return fuse_preprocess(graph, fused) if fused else graph


def _lowered(graph: Graph, opsets: Sequence[int] = OPSETS) -> Graph:
    """Return the graph in the oldest of TensorRT's operator sets that can say it."""
    for opset in opsets:
        try:
            return lower_opset(graph, opset)
        except UnsupportedOperatorError as error:
            logger.info("opset %d is too old for the model: %s", opset, error)
    return graph


def _builds(precision: str, *, has_typed: bool) -> list[dict[str, Any]]:
    typed = "typed" if has_typed else "model"
    # What Q/DQ pairs leave in float may be float16 where flags decide.
    flags = {"fp16": ["FP16"], "int8": ["INT8", "FP16"]}.get(precision, [])
    return [
        {
            "tensorrt": ">=11",
            "file": typed,
            "network_flags": [],  # strongly typed, always
            "builder_flags": [],
        },
        {
            "tensorrt": ">=10,<11",
            "file": "model",
            "network_flags": [],
            "builder_flags": flags,
            "alternative": {"file": typed, "network_flags": ["STRONGLY_TYPED"]},
        },
        {
            "tensorrt": ">=8.5,<10",
            "file": "model",
            "network_flags": ["EXPLICIT_BATCH"],
            "builder_flags": flags,
        },
    ]


def _profile(
    inputs: tuple[TensorSpec, ...], ranges: Mapping[str, ShapeRange]
) -> tuple[dict[str, Any], list[str]]:
    """Return shapes by input with a dynamic size, and the dynamic sizes by name."""
    profile: dict[str, Any] = {}
    assumed: list[str] = []
    for spec in inputs:
        if spec.is_static or spec.shape is None:
            continue
        if spec.name in ranges:
            named = zip(("min", "opt", "max"), ranges[spec.name], strict=True)
            profile[spec.name] = {name: list(shape) for name, shape in named}
            continue
        shapes = [_sizes(dim, axis, spec) for axis, dim in enumerate(spec.shape)]
        smallest, usual, largest = (list(sizes) for sizes in zip(*shapes, strict=True))
        profile[spec.name] = {"min": smallest, "opt": usual, "max": largest}
        assumed += [dim for dim in spec.shape if isinstance(dim, str) and dim not in assumed]
    return profile, assumed


def _sizes(dim: Dim, axis: int, spec: TensorSpec) -> tuple[int, int, int]:
    """Return (min, opt, max); one dynamic size has the same everywhere it occurs."""
    if isinstance(dim, int):
        return dim, dim, dim
    if axis == 0:
        return 1, 1, 8
    # Heights and widths; lengths of sequences where the tensor is no picture.
    return (64, 320, 1280) if len(spec.shape or ()) >= 4 else (1, 128, 512)
