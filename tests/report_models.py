"""A tiny bundle with all that a report can show, and the page as a tree that tests can ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from bundle_models import FILES, OPENVINO, TENSORRT, make_manifest

from edgekit.bundle import (
    Bundle,
    Contract,
    ContractFigure,
    ContractStep,
    Manifest,
    Status,
    write_bundle,
)
from edgekit.ranges import Histogram, Range, Ranges, Statistics

VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})

CONTRACT = Contract(
    limit=0.01,
    is_relative=True,
    metric="top1",
    samples="360 samples of heldout.npz",
    baseline=0.8,
    figures=(
        ContractFigure("openvino-int8", "openvino 2026", "measured", 0.796, 0.005, 1.5),
        ContractFigure("onnx-int8", "onnxruntime 1.32", "measured", 0.794, 0.0075, 3.0),
        ContractFigure("tensorrt-int8", "onnxruntime 1.32", "simulated", 0.794, 0.0075, 9.0),
    ),
    recipe="ranges by auto",
    float_nodes={"openvino-int8": ("conv1",)},
    steps=(
        ContractStep("ranges by auto", {"openvino-int8": 0.02, "tensorrt-int8": 0.03}, 1.0, 0.5),
        ContractStep("bias correction", {"openvino-int8": 0.005}, 0.75, 1.5),
    ),
    sensitivity=(
        {"layer": "conv1", "operator": "Conv", "output_sqnr_db": 20.0, "work_share": 0.25},
        {"layer": "conv2", "operator": "Conv", "output_sqnr_db": 40.0, "work_share": 0.5},
    ),
    advice=("openvino: int8 wins, 1.9 times as fast as fp32",),
    ranges="ranges.json",
)
SEEN = Statistics(100, -1.0, 3.0, -0.9, 2.5, Histogram(-1.0, 3.0, (10, 40, 40, 10)))
RANGES = Ranges(
    "a" * 64,
    7,
    "b" * 64,
    {"good": Range(-1.0, 3.0, "minmax"), "clipped": Range(-1.0, 2.0, "mse")},
    {"good": SEEN, "clipped": SEEN},
)


def full_manifest(**changes: Any) -> Manifest:
    artifacts = tuple(
        replace(
            item,
            precision="int8",
            files={role: f"{item.format}-int8/{role}" for role in item.files},
        )
        for item in (OPENVINO, TENSORRT, replace(TENSORRT, format="onnx", recipe={}))
    )
    states = {
        "openvino-fp32": Status("verified"),
        "openvino-int8": Status("unverified", "there is no golden"),
        "tensorrt-int8": Status("simulated", "there is no GPU"),
    }
    facts: dict[str, Any] = {
        "artifacts": (OPENVINO, *artifacts),
        "status": states,
        "contract": CONTRACT,
    }
    return make_manifest(**{**facts, **changes})


def full_files(ranges: Ranges | bytes = RANGES) -> dict[str, bytes]:
    text = ranges if isinstance(ranges, bytes) else json.dumps(ranges.to_json()).encode()
    return {
        **{path: data for path, data in FILES.items() if not path.startswith("tensorrt-fp16")},
        "openvino-int8/model": b"<net/>",
        "openvino-int8/weights": bytes(515),
        "tensorrt-int8/model": b"onnx" * 25,
        "onnx-int8/model": b"onnx" * 50,
        "ranges.json": text,
    }


def write_full(path: Path, *, ranges: Ranges | bytes = RANGES, **changes: Any) -> Bundle:
    return write_bundle(path, full_manifest(**changes), full_files(ranges))


@dataclass
class Element:
    """One element of the page."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)

    def each(self, tag: str = "") -> Iterator[Element]:
        for child in self.children:
            if isinstance(child, Element):
                if tag in ("", child.tag):
                    yield child
                yield from child.each(tag)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def with_class(self, name: str) -> list[Element]:
        return [item for item in self.each() if name in item.attributes.get("class", "").split()]

    def by_id(self, ident: str) -> Element:
        (found,) = (item for item in self.each() if item.attributes.get("id") == ident)
        return found

    def section(self, ident: str) -> Element:
        (found,) = (
            item for item in self.each("section") if item.attributes.get("aria-labelledby") == ident
        )
        return found


class _Tree(HTMLParser):
    """Builds the tree; refuses what is not well-formed."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("document")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parsed(page: str) -> Element:
    tree = _Tree()
    tree.feed(page)
    tree.close()
    assert [item.tag for item in tree.open] == ["document"], "not every element is closed"
    return tree.open[0]
