"""Put the preprocessing into the graph: uint8 frames go straight into the engine.

The nodes are the ones that every engine runs natively: Cast, Transpose, Slice, Resize and
Pad where frames have a fixed size, then one 1x1 Conv (colour order, grey, multiply and add
at once) or one Mul and one Add. A Gather of channels was not chosen: XNNPACK and TensorRT
split their graphs around it.

Without a resize the result equals ``Preprocess.apply`` up to float32 rounding, but for grey,
which ``apply`` rounds to a whole level. A linear or cubic resize differs by at most
``RESIZE_LEVELS`` before the formula: OpenCV works in fixed point and rounds to uint8, the
graph does neither. Neither has an antialiasing filter: both alias alike in a shrunk frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgekit.converters.passes.node_chain import NodeChain
from edgekit.errors import ModelError, UsageError
from edgekit.graph import Attribute, Graph
from edgekit.preprocess import Geometry, Preprocess
from edgekit.preprocess.geometry import input_size
from edgekit.preprocess.normalise import Matrix, channel_map
from edgekit.registry import unknown_name
from edgekit.tensor import Dim, DType, Layout, TensorSpec

RESIZE_LEVELS = 1.0
"""Largest difference to ``apply`` after a fused resize, in levels of 255; measured: 0.77."""

_TO_NCHW = (0, 3, 1, 2)
_TO_NHWC = (0, 2, 3, 1)

_RESIZE_ATTRIBUTES: dict[str, dict[str, Attribute]] = {
    "linear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    "cubic": {
        "mode": "cubic",
        "coordinate_transformation_mode": "half_pixel",
        "cubic_coeff_a": -0.75,
    },
}


def fuse_preprocess(
    graph: Graph,
    preprocess: Mapping[str, Preprocess],
    *,
    frame_shapes: Mapping[str, tuple[int, int]] | None = None,
) -> Graph:
    """Return the graph with inputs that take uint8 frames, (1, height, width, channels).

    Args:
        graph: The model.
        preprocess: By input name; other inputs stay as they are.
        frame_shapes: Height and width of the frames, by input name. Where given, cropping,
            resizing and padding are in the graph too; elsewhere the input takes frames
            that ``Preprocess.fit`` has brought to the model's size.

    Raises:
        UsageError: A name is not an input's, or a graph cannot do the resampling.
        InputError: The input is no picture of that preprocessing.
        ModelError: The input is also an output, or a control-flow body reads it.
    """
    frames = frame_shapes or {}
    for name in (*preprocess, *frames):
        if name not in graph.input_names:
            raise UsageError(unknown_name(name, graph.input_names, kind="input"))
    for name in frames:
        if name not in preprocess:
            raise UsageError(f"input {name!r} has a frame size but no preprocessing; give both")
    for spec in graph.inputs:
        if spec.name in preprocess:
            graph = _fuse_input(graph, spec, preprocess[spec.name], frames.get(spec.name))
    return graph


def _fuse_input(
    graph: Graph, spec: TensorSpec, preprocess: Preprocess, frame_hw: tuple[int, int] | None
) -> Graph:
    _check_rewirable(graph, spec.name)
    frame_spec = _frame_spec(spec, preprocess, frame_hw)
    geometry = None if frame_hw is None else preprocess.place(frame_hw, spec)
    chain = NodeChain(frame_spec, prefix=f"{spec.name}/preprocess")
    _add_steps(chain, preprocess, geometry=geometry)
    nodes = [
        replace(
            node,
            inputs=tuple(chain.last.name if name == spec.name else name for name in node.inputs),
        )
        for node in graph.nodes
    ]
    fused = graph.with_nodes(
        (*chain.nodes, *nodes), initializers={**graph.initializers, **chain.constants}
    )
    return replace(
        fused,
        inputs=tuple(frame_spec if item.name == spec.name else item for item in graph.inputs),
        values={**graph.values, **chain.values, spec.name: frame_spec},
    )


def _check_rewirable(graph: Graph, name: str) -> None:
    if name in graph.output_names:
        raise ModelError(
            f"input {name!r} is also an output, so its preprocessing cannot be fused; "
            "convert without --fuse-preprocess"
        )
    for node in graph.consumers().get(name, ()):
        if name not in node.inputs:
            raise ModelError(
                f"the body of node {node.name!r} ({node.op_type}) reads input {name!r}, so its "
                "preprocessing cannot be fused; convert without --fuse-preprocess"
            )


def _frame_spec(
    spec: TensorSpec, preprocess: Preprocess, frame_hw: tuple[int, int] | None
) -> TensorSpec:
    input_size(preprocess, spec)  # checks that it is such a picture
    batch, *rest = spec.shape or ()
    is_planar = preprocess.layout is Layout.NCHW
    size: tuple[Dim, ...] = tuple(rest[1:] if is_planar else rest[:2])
    shape = (batch, *(frame_hw or size), preprocess.frame_channels)
    return TensorSpec(spec.name, DType.UINT8, shape, layout=Layout.NHWC)


def _add_steps(chain: NodeChain, preprocess: Preprocess, *, geometry: Geometry | None) -> None:
    matrix, offset = channel_map(preprocess)
    mixes = not np.array_equal(matrix, np.diag(np.diag(matrix)))  # False for unequal shapes
    reshapes = geometry is not None and _moves_pixels(geometry, chain.shape[1:3])
    is_identity = not mixes and (np.diag(matrix) == 1).all() and not offset.any()
    passes_bytes = preprocess.dtype is DType.UINT8 and is_identity and not reshapes
    if not passes_bytes:
        # First of all: TensorRT takes a uint8 input into a Cast only.
        chain.cast(DType.FLOAT32)
    if preprocess.layout is Layout.NCHW or mixes or reshapes:
        chain.transpose(_TO_NCHW, Layout.NCHW)
    if geometry is not None and reshapes:
        _add_geometry(chain, preprocess, geometry)
    if mixes:
        _add_channel_mix(chain, matrix, offset)
    elif not is_identity:
        _add_affine(chain, np.diag(matrix), offset)
    if preprocess.layout is Layout.NHWC and chain.last.layout is Layout.NCHW:
        chain.transpose(_TO_NHWC, Layout.NHWC)
    if passes_bytes:
        return
    if not preprocess.dtype.is_float:
        _add_rounding(chain, preprocess.dtype)
    if preprocess.dtype is not DType.FLOAT32:
        chain.cast(preprocess.dtype)


def _moves_pixels(geometry: Geometry, frame_hw: tuple[Dim, ...]) -> bool:
    _, _, width, height = geometry.crop_xywh
    return len({frame_hw, (height, width), geometry.resized_hw, geometry.canvas_hw}) > 1


def _add_geometry(chain: NodeChain, preprocess: Preprocess, geometry: Geometry) -> None:
    """Crop, resize, pad or cut; the last tensor is NCHW where any of it is needed."""
    left, top, width, height = geometry.crop_xywh
    if (width, height) != (chain.shape[3], chain.shape[2]):
        _add_slice(chain, "crop", (top, left), (height, width))
    if geometry.resized_hw != (height, width):
        _add_resize(chain, preprocess, geometry.resized_hw)
    offset_x, offset_y = geometry.offset_xy
    if offset_x < 0 or offset_y < 0:
        corner = (max(0, -offset_y), max(0, -offset_x))
        _add_slice(chain, "cut", corner, geometry.canvas_hw)
    elif geometry.resized_hw != geometry.canvas_hw:
        _add_pad(chain, preprocess, geometry)


def _add_slice(chain: NodeChain, word: str, corner: tuple[int, int], size: tuple[int, int]) -> None:
    starts = np.array(corner, np.int64)
    chain.add(
        "Slice",
        chain.constant(f"{word}_starts", starts),
        chain.constant(f"{word}_ends", starts + np.array(size, np.int64)),
        chain.constant(f"{word}_axes", np.array([2, 3], np.int64)),
        shape=(*chain.shape[:2], *size),
    )


def _add_resize(chain: NodeChain, preprocess: Preprocess, size_hw: tuple[int, int]) -> None:
    if preprocess.interpolation == "nearest":
        _add_pick(chain, size_hw)
        return
    if preprocess.interpolation not in _RESIZE_ATTRIBUTES:
        raise UsageError(
            f"interpolation {preprocess.interpolation!r} cannot be fused into a model; use "
            "linear, nearest or cubic, or leave the frame size out and resize before it"
        )
    shape = (*chain.shape[:2], *size_hw)
    attributes = dict(_RESIZE_ATTRIBUTES[preprocess.interpolation])
    sizes = [dim for dim in shape if isinstance(dim, int)]
    if len(sizes) < len(shape):
        sizes, attributes["axes"] = list(size_hw), (2, 3)  # the batch has a name, no size
    inputs = ("", "", chain.constant("sizes", np.array(sizes, np.int64)))
    chain.add("Resize", *inputs, shape=shape, attributes=attributes)
    if preprocess.interpolation == "cubic":
        _add_clip(chain, 0, 255)  # a cubic overshoots; uint8 frames cannot


def _add_pick(chain: NodeChain, size_hw: tuple[int, int]) -> None:
    """Pick rows and columns; Resize computes in float32 and misses exact multiples by one."""
    for axis, size in ((2, size_hw[0]), (3, size_hw[1])):
        old = chain.shape[axis]
        if isinstance(old, int) and old != size:
            # As OpenCV's INTER_NEAREST, roundings included.
            picked = np.floor(np.arange(size) * (1 / (size / old))).clip(max=old - 1)
            index = chain.constant(f"picked_{axis}", picked.astype(np.int64))
            shape = (*chain.shape[:axis], size, *chain.shape[axis + 1 :])
            chain.add("Gather", index, shape=shape, attributes={"axis": axis})


def _add_pad(chain: NodeChain, preprocess: Preprocess, geometry: Geometry) -> None:
    left, top = geometry.offset_xy
    bottom = geometry.canvas_hw[0] - geometry.resized_hw[0] - top
    right = geometry.canvas_hw[1] - geometry.resized_hw[1] - left
    chain.add(
        "Pad",
        chain.constant("pads", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)),
        chain.constant("pad_value", np.array(preprocess.pad_value, np.float32)),
        shape=(*chain.shape[:2], *geometry.canvas_hw),
    )


def _add_channel_mix(chain: NodeChain, matrix: Matrix, offset: Matrix) -> None:
    # (model channels, frame channels) -> (model channels, frame channels, 1, 1)
    weight_oihw = matrix.astype(np.float32)[:, :, None, None]
    chain.add(
        "Conv",
        chain.constant("weight", weight_oihw),
        chain.constant("bias", offset.astype(np.float32)),
        shape=(chain.shape[0], len(offset), *chain.shape[2:]),
        attributes={"kernel_shape": (1, 1)},
    )


def _add_affine(chain: NodeChain, multiply: Matrix, add: Matrix) -> None:
    is_planar = chain.last.layout is Layout.NCHW
    shape = (1, -1, 1, 1) if is_planar else (1, 1, 1, -1)
    for op_type, values, neutral in (("Mul", multiply, 1), ("Add", add, 0)):
        if (values != neutral).any():
            constant = values.astype(np.float32).reshape(shape)
            chain.add(op_type, chain.constant(op_type.lower(), constant))


def _add_rounding(chain: NodeChain, dtype: DType) -> None:
    limits = np.iinfo(dtype.to_numpy())
    chain.add("Round")
    _add_clip(chain, int(limits.min), int(limits.max))


def _add_clip(chain: NodeChain, low: int, high: int) -> None:
    word = f"clip_{len(chain.nodes)}"
    chain.add(
        "Clip",
        chain.constant(f"{word}_low", np.array(low, np.float32)),
        chain.constant(f"{word}_high", np.array(high, np.float32)),
    )
