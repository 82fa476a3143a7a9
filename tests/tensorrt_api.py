"""What a TensorRT binding offers, as plain data: enums, members, parameters.

Run over an installed binding it prints the entry of ``tests/data/tensorrt_api.json``::

    python tests/tensorrt_api.py tensorrt
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from importlib import import_module
from typing import Any

CLASSES = (
    "Builder",
    "Dims",
    "EngineInspector",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "IInt8EntropyCalibrator2",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IOutputAllocator",
    "IProgressMonitor",
    "ITensor",
    "ITimingCache",
    "OnnxParser",
    "ParserError",
    "Runtime",
)
ENUMS = (
    "BuilderFlag",
    "ComputeCapability",
    "DataType",
    "DeviceType",
    "LayerInformationFormat",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "ProfilingVerbosity",
    "TensorIOMode",
    "TensorLocation",
)
FUNCTIONS = ("init_libnvinfer_plugins",)
# Making layers by hand is what the parser does; the adapter never does.
_LEFT_OUT = re.compile(r"_|add_(?!optimization_profile)")


def describe(module: Any) -> dict[str, Any]:
    """Return what the module offers of what the adapter may use.

    A method is the list of its overloads, each ``"name, shape= -> bool"``: parameters after
    self (``=`` marks one that may be left out) and the type that it returns.
    """
    return {
        "version": module.__version__,
        "enums": {
            name: {
                member: int(value) for member, value in getattr(module, name).__members__.items()
            }
            for name in ENUMS
            if hasattr(module, name)
        },
        "severities": sorted(module.ILogger.Severity.__members__),
        "classes": {
            name: _members(getattr(module, name)) for name in CLASSES if hasattr(module, name)
        },
        "functions": {
            name: _overloads(getattr(module, name), name)
            for name in FUNCTIONS
            if hasattr(module, name)
        },
    }


def _members(kind: type) -> dict[str, Any]:
    members: dict[str, Any] = {"__init__": _overloads(kind.__init__, "__init__")}
    for name in sorted(dir(kind)):
        if _LEFT_OUT.match(name) or name in ("INTERNAL_ERROR", "Severity"):
            continue
        member = inspect.getattr_static(kind, name)
        if isinstance(member, property):
            members[name] = "property"
        elif callable(getattr(kind, name)):
            members[name] = _overloads(getattr(kind, name), name)
    return members


def _overloads(function: Any, name: str) -> list[str]:
    pattern = re.compile(rf"^(?:\d+\. )?{re.escape(name)}\((?P<inside>.*)\) -> (?P<returns>.+)$")
    found = [pattern.match(line.strip()) for line in (function.__doc__ or "").splitlines()]
    return [
        f"{_parameters(match['inside'])} -> {match['returns'].split('.')[-1].rstrip(']')}".strip()
        for match in found
        if match is not None and "*args" not in match["inside"]
    ]


def _parameters(inside: str) -> str:
    depth, parts = 0, [""]
    for character in inside:
        depth += (character in "[(<") - (character in "])>")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    named = [part.strip() for part in parts if part.strip() and not part.strip().startswith("self")]
    return ", ".join(part.split(":")[0].strip() + "=" * (" = " in part) for part in named)


if __name__ == "__main__":
    json.dump(describe(import_module(sys.argv[1])), sys.stdout, indent=1)
