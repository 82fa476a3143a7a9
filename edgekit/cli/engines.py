"""``edgekit engines``: the TensorRT engines that are kept on this device."""

from __future__ import annotations

import argparse
import re
import time

from edgekit.cli import options
from edgekit.cli.build import add_store
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table, counted, human_bytes
from edgekit.errors import UsageError
from edgekit.runtimes.engines import EngineStore, StoredEngine

EXAMPLE = """example:
  edgekit engines list
  edgekit engines prune --max-size 2G --older-than 30d

They are caches: what is deleted is built again when it is needed."""

_ACTIONS = ("list", "prune")
_SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_TIMES = {"h": 3600, "d": 86400, "w": 604800}


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "action", type=options.one_of(_ACTIONS, kind="action"), help="list or prune"
    )
    parser.add_argument(
        "--max-size", type=_size, metavar="SIZE", help="prune: what may stay together, such as 2G"
    )
    parser.add_argument(
        "--older-than", type=_age, metavar="AGE", help="prune: what was unused longer, such as 30d"
    )
    parser.add_argument("--all", action="store_true", help="prune: all of them")
    add_store(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """List what is there, or delete some of it."""
    store = EngineStore(arguments.store)
    if arguments.action == "list":
        if arguments.max_size or arguments.older_than or arguments.all:
            raise UsageError("--max-size, --older-than and --all belong to: edgekit engines prune")
        _list(store, console)
        return 0
    if arguments.max_size is None and arguments.older_than is None and not arguments.all:
        raise UsageError("say what is to go: --max-size 2G, --older-than 30d, or --all")
    limit = 0 if arguments.all else arguments.max_size
    gone = store.prune(limit, older_than_s=arguments.older_than)
    console.json({"store": str(store.root), "deleted": [item.to_json() for item in gone]})
    freed = human_bytes(sum(item.nbytes for item in gone))
    console.line(f"deleted {counted(len(gone), 'engine')}, {freed}, from {store.root}")
    return 0


def _list(store: EngineStore, console: Console) -> None:
    engines = store.entries()
    console.json({"store": str(store.root), "engines": [item.to_json() for item in engines]})
    console.table(
        Table(
            ("engine", "artifact", "device", "TensorRT", ">size", ">median ms", "", "used"),
            [_row(item) for item in engines],
        )
    )
    size = human_bytes(sum(item.nbytes for item in engines))
    console.line(f"{counted(len(engines), 'engine')}, {size}, in {store.root}")


def _row(engine: StoredEngine) -> tuple[str, ...]:
    facts, device = engine.facts, engine.key.device
    median = facts.get("median_ms")
    place = device.gpu + (f", {device.power_mode}" if device.power_mode else "")
    core = engine.key.settings.get("dla_core")
    return (
        engine.key.digest,
        str(facts.get("artifact") or engine.key.settings.get("precision", "")),
        place + ("" if core is None else f", DLA {core}"),
        device.tensorrt,
        human_bytes(engine.nbytes),
        f"{median:.3f}" if isinstance(median, float) else "",
        "kept" if facts.get("kept") else "",
        _ago(time.time() - engine.used_at),
    )


def _ago(seconds: float) -> str:
    for name, unit in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= unit:
            return f"{counted(int(seconds // unit), name)} ago"
    return "just now"


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)B?", text, re.IGNORECASE)
    if found is None:
        raise UsageError(f"{text!r} is no size; expected such as 500M or 2G")
    return int(float(found[1]) * _SIZES[found[2].upper()])


def _age(text: str) -> float:
    found = re.fullmatch(r"(\d+)([hdw])", text)
    if found is None:
        raise UsageError(f"{text!r} is no age; expected such as 12h, 30d or 8w")
    return float(int(found[1]) * _TIMES[found[2]])


COMMAND = Command(configure, run, EXAMPLE)
