"""What an engine is made of: the layers that TensorRT's inspector lists, and where they run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_FOREIGN = "{ForeignNode["
"""How the part that another compiler took is named: a DLA's, and on the GPU Myelin's too."""

_REFORMAT = re.compile(r"reformat", re.IGNORECASE)
_SHOWN = 20


@dataclass(frozen=True)
class LayerReport:
    """An engine's layers in figures.

    Args:
        count: How many there are.
        types: How many of each type; empty where the engine was built without details.
        precisions: How many write each type of number, such as ``"Int8"``; likewise.
        reformats: How many only change a tensor's format: what int8 pays for where its pairs
            lie badly.
        on_dla: Names of those that run on the accelerator.
        on_gpu: Names of those that run on the GPU beside it; empty where there is no DLA part.
    """

    count: int
    types: Mapping[str, int]
    precisions: Mapping[str, int]
    reformats: int
    on_dla: tuple[str, ...] = ()
    on_gpu: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "count": self.count,
            "types": dict(self.types),
            "precisions": dict(self.precisions),
            "reformats": self.reformats,
            "on_dla": list(self.on_dla),
            "on_gpu": list(self.on_gpu),
        }

    def in_words(self) -> str:
        """Return one sentence."""
        layers = "1 layer" if self.count == 1 else f"{self.count} layers"
        words = [f"{layers}, {self.reformats} of them for reformatting"]
        if self.on_dla:
            names = ", ".join(self.on_gpu[:_SHOWN]) or "none"
            more = f" and {len(self.on_gpu) - _SHOWN} more" if len(self.on_gpu) > _SHOWN else ""
            words.append(
                f"{len(self.on_dla)} parts on the DLA; fell back to the GPU: {names}{more}"
            )
        return "; ".join(words)


def read_layers(document: Mapping[str, Any], *, for_dla: bool = False) -> LayerReport | None:
    """Return the report of an inspector's JSON document, or None where it lists nothing.

    Args:
        document: As ``inspect`` returns it.
        for_dla: Whether the engine was built for an accelerator.

    Releases differ: a layer is a name (8.5, or without details), or an object whose outputs
    have a ``"Format/Datatype"`` (8.x, 10.x) or a ``"Datatype"`` (11).
    """
    layers = document.get("Layers")
    if not isinstance(layers, list) or not layers:
        return None
    types: dict[str, int] = {}
    precisions: dict[str, int] = {}
    for layer in layers:
        if not isinstance(layer, Mapping):
            continue
        kind = str(layer.get("LayerType", ""))
        if kind:
            types[kind] = types.get(kind, 0) + 1
        precision = _precision(layer.get("Outputs"))
        if precision:
            precisions[precision] = precisions.get(precision, 0) + 1
    names = [_name(layer) for layer in layers]
    on_dla = tuple(
        name
        for name, layer in zip(names, layers, strict=True)
        if for_dla and _is_on_dla(name, layer)
    )
    return LayerReport(
        count=len(layers),
        types=types,
        precisions=precisions,
        reformats=sum(
            bool(_REFORMAT.search(f"{name} {_type(layer)}"))
            for name, layer in zip(names, layers, strict=True)
        ),
        on_dla=on_dla,
        on_gpu=tuple(name for name in names if name not in on_dla) if on_dla else (),
    )


def _name(layer: object) -> str:
    return str(layer.get("Name", "")) if isinstance(layer, Mapping) else str(layer)


def _type(layer: object) -> str:
    return str(layer.get("LayerType", "")) if isinstance(layer, Mapping) else ""


def _is_on_dla(name: str, layer: object) -> bool:
    kind = _type(layer)
    return kind == "DLA" or (_FOREIGN in name and kind != "Myelin")


def _precision(outputs: object) -> str:
    """Return the type of the first output, such as ``"Int8"``."""
    if not isinstance(outputs, Sequence) or not outputs or not isinstance(outputs[0], Mapping):
        return ""
    text = str(outputs[0].get("Datatype") or outputs[0].get("Format/Datatype") or "")
    found = re.search(r"(Int8|Int32|Int64|FP8|FP16|FP32|Half|Float|BF16|Bool)", text, re.IGNORECASE)
    same = {"half": "FP16", "float": "FP32"}
    return same.get(found[1].lower(), found[1]) if found else ""
