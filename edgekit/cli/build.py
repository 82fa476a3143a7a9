"""``edgekit build``: TensorRT engines for this device, built, proved, timed, and kept."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgekit.bundle import Bundle
from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table, human_bytes
from edgekit.errors import UsageError
from edgekit.runtimes.engines import EngineStore
from edgekit.runtimes.tensorrt.child import Limits, Status
from edgekit.runtimes.tensorrt.contest import Contest, Entrant, contenders, hold_contest
from edgekit.runtimes.tensorrt.machine import Machine
from edgekit.runtimes.tensorrt.prepare import EngineOptions
from edgekit.runtimes.tensorrt.profile import Profile, parse_profile
from edgekit.runtimes.tensorrt.promise import judge_by
from edgekit.runtimes.tensorrt.spec import BuildOptions

_LEVELS = range(6)

EXAMPLE = """example:
  edgekit build model.edgekit
  edgekit build model.edgekit --shape images:1x3x320x320..1x3x640x640 --workspace 256
  edgekit build model.edgekit --artifact tensorrt-int8 --dla 0

Builds the float16 and the int8 engine in a child process, replays the goldens on both, times
them in turns, and keeps the faster one that is right: edgekit run, bench and load() take it
from then on. An engine that is in the store is not built again. Ctrl-C leaves nothing behind."""


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument("bundle", type=options.existing_path, help="a bundle with tensorrt in it")
    parser.add_argument(
        "--artifact",
        "-a",
        action="append",
        metavar="NAME",
        help="only this one; give it once for each (default: float16 and int8)",
    )
    parser.add_argument(
        "--shape",
        action="append",
        type=parse_profile,
        metavar="NAME:MIN..OPT..MAX",
        help="sizes of a dynamic input, such as x:1x3x224x224..8x3x640x640",
    )
    parser.add_argument(
        "--workspace",
        type=options.positive_int,
        metavar="MIB",
        help="memory for a kernel's scratch",
    )
    parser.add_argument(
        "--level", type=_level, metavar="0..5", help="how long to search for kernels"
    )
    parser.add_argument("--dla", type=_core, metavar="CORE", help="run on this accelerator")
    parser.add_argument(
        "--no-gpu-fallback",
        action="store_true",
        help="fail where the accelerator cannot run a layer, instead of using the GPU for it",
    )
    parser.add_argument(
        "--memory", type=options.positive_int, metavar="MIB", help="end the build above this"
    )
    parser.add_argument(
        "--timeout", type=options.positive_seconds, metavar="S", help="end the build after this"
    )
    options.add_validation(
        parser, "measure the promised accuracy here; an engine that breaks it is not kept"
    )
    options.add_limit(parser, "so many of its samples")
    options.add_outputs_of_metric(
        parser,
        decoder="for map: how outputs become boxes",
        output="which output counts",
        name="--output-name",
    )
    add_store(parser)
    options.add_json(parser)


def add_store(parser: Parser) -> None:
    """Add ``--store``."""
    parser.add_argument(
        "--store", type=Path, metavar="FOLDER", help="where engines are kept (default: your cache)"
    )


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Build, and print what each engine is worth here."""
    bundle = Bundle.open(arguments.bundle)
    artifacts = contenders(bundle, arguments.artifact or ())
    store = EngineStore(arguments.store)
    machine = Machine.here(store=store)
    with console.progress() as stage:
        judge = None
        if arguments.validation:
            judge = judge_by(
                bundle,
                arguments.validation,
                decoder=arguments.decoder,
                output=arguments.output_name,
                limit=arguments.limit,
                tell=stage,
            )
        contest = hold_contest(
            bundle,
            artifacts,
            store=store,
            options=EngineOptions(
                build=_build_options(arguments),
                limits=Limits(arguments.memory, arguments.timeout),
                watch=_Watch(console),
            ),
            judge=judge,
            tell=stage,
        )
    console.json(
        {"bundle": str(arguments.bundle), "device": machine.facts.to_json(), **contest.to_json()}
    )
    _print(contest, machine, console)
    if bundle.manifest.contract is not None and judge is None:
        console.line(
            "what the bundle promises of its accuracy was not measured on this device; "
            "--validation PATH does"
        )
    return 0


class _Watch:
    """Shows how far a build is, on the line of its stage."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, status: Status) -> None:
        self._console.update(str(status))


def _build_options(arguments: argparse.Namespace) -> BuildOptions:
    shapes = dict(arguments.shape or ())
    return BuildOptions(
        profiles=(Profile(shapes),) if shapes else (),
        workspace_mib=arguments.workspace,
        optimization_level=arguments.level,
        dla_core=arguments.dla,
        gpu_fallback=not arguments.no_gpu_fallback,
    )


def _print(contest: Contest, machine: Machine, console: Console) -> None:
    facts = machine.facts
    console.line(f"{facts.gpu}, SM {facts.sm}, TensorRT {facts.tensorrt}, CUDA {facts.cuda}")
    for line in contest.conditions.lines():
        console.line(line)
    console.line()
    console.table(
        Table(
            ("artifact", ">built in", ">engine", "goldens", ">median ms", ">p99 ms"),
            [_row(item) for item in contest.entrants],
        )
    )
    for item in contest.entrants:
        if item.layers is not None:
            console.line(f"{item.artifact}: {item.layers.in_words()}")
        if item.facts.get("retried_smaller"):
            console.line(f"{item.artifact}: memory was short; it was built with less workspace")
    console.line(contest.reason)


def _row(entrant: Entrant) -> tuple[str, ...]:
    seconds = entrant.facts.get("wall_s")
    replay, latency = entrant.replay, entrant.latency
    return (
        entrant.artifact,
        "" if seconds is None else f"{seconds:.0f} s",
        human_bytes(entrant.nbytes) if entrant.nbytes else "",
        "not built" if replay is None else replay.status,
        "" if latency is None else f"{latency.median_ms:.3f}",
        "" if latency is None else f"{latency.p99_ms:.3f}",
    )


def _level(text: str) -> int:
    if not text.isdecimal() or int(text) not in _LEVELS:
        raise UsageError(f"optimization level {text!r}; TensorRT has 0 to 5")
    return int(text)


def _core(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{text!r} is not the number of a DLA core; an Orin has 0 and 1")
    return int(text)


COMMAND = Command(configure, run, EXAMPLE)
