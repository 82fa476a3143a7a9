"""To come."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.graph import Node

LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {}
