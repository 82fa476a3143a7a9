"""What ONNX Runtime writes when it profiles a session, as times of its steps."""

from __future__ import annotations

import json
import mmap
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgekit.runtimes.layer_times import StepTime, middle_mean
from edgekit.runtimes.onnx_nodes import OnnxNode, read_onnx_nodes

_EVENT = "_kernel_time"
# What its optimizers do to a name: Node::Name + "_token_3", tensor + "_nchwc" and so on.
# Source: onnxruntime 1.32, core/optimizer (GenerateNodeName, nchwc_transformer.cc,
# conv_activation_fusion.cc, utils.cc of the fusions).
_TOKEN = re.compile(r"_token_\d+$")
_BLOCKED = "_nchwc"
_FUSED = "fused "


class OnnxRuntimeProfile:
    """Where a session writes what it runs and how long that took; a folder of its own.

    Attributes:
        prefix: Of the profile's path.
        optimized: Where the graph goes as it is run.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edgekit-profile-")
        self.prefix = Path(self._folder.name, "profile")
        self.optimized = Path(self._folder.name, "optimized.onnx")

    def steps(self, profile: Path, source: Path | bytes, *, calls: int) -> tuple[StepTime, ...]:
        """Return the steps, in the graph's order; a node without a name has no time.

        Args:
            profile: What the engine wrote.
            source: The model that was loaded.
            calls: The last so many are looked at.
        """
        with _mapped(self.optimized) as data:
            run = read_onnx_nodes(data)
        with _mapped(source) as data:
            loaded = read_onnx_nodes(data)
        times = _times(json.loads(profile.read_text(encoding="utf-8")))
        names = {node.name for node in loaded if node.name}
        makers = {output: node.name for node in loaded if node.name for output in node.outputs}
        readers: dict[str, list[str]] = {}
        for node in run:
            for name in node.inputs:
                readers.setdefault(name, []).append(node.name)
        return tuple(
            StepTime(
                node.name,
                node.op_type,
                _origins(node, names, makers),
                tuple(dict.fromkeys(r for name in node.outputs for r in readers.get(name, ()))),
                middle_mean(times.get(node.name, ())[-calls:]),
            )
            for node in run
        )

    def close(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()


def _times(events: Sequence[Mapping[str, object]]) -> dict[str, list[float]]:
    """Return the microseconds of each call by node name."""
    found: dict[str, list[float]] = {}
    for event in events:
        name, taken = str(event.get("name", "")), event.get("dur")
        if event.get("cat") == "Node" and name.endswith(_EVENT) and isinstance(taken, int | float):
            found.setdefault(name.removesuffix(_EVENT), []).append(float(taken))
    return found


def _origins(node: OnnxNode, names: set[str], makers: Mapping[str, str]) -> tuple[str, ...]:
    """Return which nodes of the file it stands for: by its name, else by what it writes."""
    plain = _TOKEN.sub("", node.name)
    for name in (node.name, plain, plain.removeprefix(_FUSED)):
        if name in names:
            return (name,)
    # "x/QuickGeluFusion/" and the like, of the last node that was fused.
    outer = plain.rstrip("/").rpartition("/")[0]
    if plain.endswith("Fusion/") and outer in names:
        return (outer,)
    if plain.endswith(_BLOCKED) and (tensor := plain.removesuffix(_BLOCKED)) in makers:
        return (makers[tensor],)
    written = (makers.get(name) for name in node.outputs)
    return tuple(dict.fromkeys(name for name in written if name is not None))


@contextmanager
def _mapped(source: Path | bytes) -> Iterator[memoryview]:
    if isinstance(source, bytes):
        yield memoryview(source)
        return
    with (
        source.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as view,
    ):
        yield view
