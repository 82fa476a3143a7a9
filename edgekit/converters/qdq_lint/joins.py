"""Faults of where pairs lie: residual Adds, Concats, outputs, and inside what would fuse."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from edgekit.converters.qdq_lint.edit import Edit
from edgekit.converters.qdq_lint.finding import Finding
from edgekit.converters.qdq_lint.pairs import LAYERS, QUANTIZE, Pair, PairView
from edgekit.graph import Node

_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish"})
_ENDS = frozenset({"Sigmoid", "Softmax"})


def residual(view: PairView) -> Iterator[Finding]:
    """Of a residual Add, only the skip branch may be quantized."""
    for node in view.graph.nodes:
        pairs = [view.pairs.get(name) for name in node.inputs]
        if node.op_type != "Add" or len(pairs) != 2 or None in pairs:
            continue
        fused = [pair for pair in pairs if pair is not None and _is_from_layer(pair, view)]
        if not fused or any(pair is not None and pair.is_constant for pair in pairs):
            continue
        main = max(fused, key=lambda pair: _place(pair, view))
        yield Finding(
            rule="residual",
            severity="speed",
            node=node.name,
            reason=f"both of its inputs are rounded; with a pair behind {_maker(main, view)} the "
            "convolution cannot take up the Add, and writes its result twice",
            fix="round the skip branch only; the repair takes the pair behind the convolution away",
            repair=lambda edit, main=main, node=node: edit.read_float(main, node),  # type: ignore[misc]
        )


def concat(view: PairView) -> Iterator[Finding]:
    """All inputs of a Concat have to share one scale."""
    for node in view.graph.nodes:
        if node.op_type != "Concat":
            continue
        pairs = [view.pairs[name] for name in node.inputs if name in view.pairs]
        pairs = [pair for pair in pairs if not pair.is_constant and pair.amax is not None]
        behind = [_pair_behind(node, view)] if _pair_behind(node, view) is not None else []
        known = [*pairs, *(pair for pair in behind if pair is not None)]
        tops = [float(np.asarray(pair.amax).max()) for pair in known]
        if len(pairs) < 2 or max(tops) - min(tops) <= 1e-6 * max(tops):
            continue
        ratio = max(tops) / min(tops)
        too_far = ratio > 32
        can = not too_far and all(pair.quantize is not None for pair in known)
        yield Finding(
            rule="concat",
            severity="accuracy" if too_far else "speed",
            node=node.name,
            reason=f"its inputs have scales that differ {ratio:.3g}-fold; TensorRT rounds them "
            "once more to join them" + (", and the small ones keep few levels" if too_far else ""),
            fix="keep it in float, or split it: boxes and scores do not belong in one code"
            if too_far
            else "give all of them one scale; the repair takes the largest",
            repair=partial(_share, known, max(tops)) if can else None,
        )


def quantized_output(view: PairView) -> Iterator[Finding]:
    """What leaves the model, and probabilities, should stay float."""
    for name in view.graph.output_names:
        pair = view.pairs.get(name)
        if pair is None or pair.is_constant or pair.quantize is None:
            continue
        maker = view.producers.get(pair.source)
        if maker is None:
            continue
        is_end = maker.op_type in (*_ENDS, "Concat")
        yield Finding(
            rule="output",
            severity="accuracy" if is_end else "speed",
            node=maker.name,
            reason=f"output {name!r} is rounded to 8 bits and made float again"
            + ("; small probabilities and mixed units become 0" if is_end else ""),
            fix="leave the end of the model in float; the repair takes the pair away",
            repair=lambda edit, pair=pair: edit.remove(pair),  # type: ignore[misc]
        )


def inside_fusion(view: PairView) -> Iterator[Finding]:
    """No pair may stand between a layer and the activation that it would take up."""
    for pair in view.pairs.values():
        if pair.is_constant or pair.quantize is None:
            continue
        readers = view.readers.get(pair.result, [])
        if not _is_from_layer(pair, view) or pair.result in view.graph.output_names:
            continue
        if not readers or any(reader.op_type not in _ACTIVATIONS for reader in readers):
            continue
        yield Finding(
            rule="inside-fusion",
            severity="speed",
            node=_maker(pair, view),
            reason=f"a pair stands between it and {readers[0].op_type}: the two do not fuse",
            fix="round behind the activation; the repair takes the pair away",
            repair=lambda edit, pair=pair: edit.remove(pair),  # type: ignore[misc]
        )


def _share(pairs: list[Pair], top: float, edit: Edit) -> None:
    for pair in pairs:
        edit.set_symmetric(pair, np.asarray(top))


def _is_from_layer(pair: Pair, view: PairView) -> bool:
    """Whether a layer makes what is rounded, for this pair alone."""
    maker = view.producers.get(pair.source)
    alone = len(view.readers.get(pair.source, [])) == 1
    return maker is not None and maker.op_type in LAYERS and alone


def _maker(pair: Pair, view: PairView) -> str:
    maker = view.producers.get(pair.source)
    return pair.source if maker is None else maker.name


def _place(pair: Pair, view: PairView) -> int:
    order = {node.name: index for index, node in enumerate(view.graph.nodes)}
    return order[_maker(pair, view)]


def _pair_behind(node: Node, view: PairView) -> Pair | None:
    readers = view.readers.get(node.outputs[0], [])
    if len(readers) != 1 or readers[0].op_type != QUANTIZE:
        return None
    after = view.readers.get(readers[0].outputs[0], [])
    return view.pairs.get(after[0].outputs[0]) if after else None
