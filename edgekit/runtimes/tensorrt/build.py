"""Build one engine in this process: ``python -m edgekit.runtimes.tensorrt.build SPEC PLAN``.

SPEC is a ``BuildSpec`` as JSON, PLAN the file to write. Each line of standard output is one
JSON document (``saying.py``); a failure is ``{"error": ..., "code": ...}`` and status 1.
``child.py`` runs it, so that a builder that dies takes nobody with it.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import EdgeKitError
from edgekit.runtimes.tensorrt.api import Api, open_api
from edgekit.runtimes.tensorrt.log import Line, Log
from edgekit.runtimes.tensorrt.saying import end_with_parent, finish, say
from edgekit.runtimes.tensorrt.spec import BuildSpec

STAGES = ("parse", "build", "serialize")


@dataclass(frozen=True)
class Built:
    """What a build made.

    Args:
        release: That built it.
        plan_bytes: Size of the engine.
        seconds: By stage.
        used_timing_cache: Whether kernels measured before were of use.
    """

    release: str
    plan_bytes: int
    seconds: dict[str, float]
    used_timing_cache: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "release": self.release,
            "plan_bytes": self.plan_bytes,
            "seconds": self.seconds,
            "used_timing_cache": self.used_timing_cache,
        }


def build_engine(
    api: Api,
    spec: BuildSpec,
    plan: Path,
    *,
    tell: Callable[[str, int | None], None] = lambda stage, percent: None,
    log: Log | None = None,
) -> Built:
    """Build an engine and write it.

    Args:
        api: Of the release that the spec was planned for.
        spec: What to build.
        plan: File to write: beside its final name first, then renamed.
        tell: Told the stage, and how far it is in percent or None.
        log: Gets what TensorRT writes.

    Raises:
        TensorRtError: It cannot be built.
    """
    seconds: dict[str, float] = {}
    start = _enter("parse", tell)
    builder = api.create_builder(log)
    network = api.create_network(builder, flags=spec.network_flags)
    parser = api.parse(network, spec.model)
    config = api.create_config(builder, spec, network)
    start = _leave("parse", start, seconds, tell, following="build")
    kept = b""
    if spec.timing_cache is not None and spec.timing_cache.is_file():
        kept = spec.timing_cache.read_bytes()
    used = spec.timing_cache is not None and api.load_timing_cache(config, kept)
    api.watch(config, lambda percent: tell("build", percent))
    engine = api.build(builder, network, config)
    del parser  # it owned the weights
    start = _leave("build", start, seconds, tell, following="serialize")
    _write(plan, engine)
    if spec.timing_cache is not None and (measured := api.timing_cache(config)):
        _write(spec.timing_cache, measured)
    seconds["serialize"] = time.perf_counter() - start
    return Built(str(api.release), engine.nbytes, seconds, used)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build as the command line says; returns its status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if len(words) != 2:
        sys.stderr.write("usage: python -m edgekit.runtimes.tensorrt.build SPEC PLAN\n")
        return 2
    if stat.S_ISFIFO(os.fstat(0).st_mode):  # not where a person runs it
        end_with_parent()
    try:
        spec = BuildSpec.from_json(json.loads(Path(words[0]).read_text(encoding="utf-8")))
        api = open_api(spec.release.edition, needs_builder=True)
        built = build_engine(api, spec, Path(words[1]), tell=_say, log=Log(_warn))
    except EdgeKitError as error:
        say(error=str(error), code=error.code)
        return 1
    except (OSError, MemoryError) as error:
        say(error=f"{type(error).__name__}: {error}", code="EK422")
        return 1
    finish(built.to_json())
    return 0


def own_stdout() -> None:
    """Keep standard output for our lines: the vendor's C++ prints there as well."""
    ours = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(2, 1)
    sys.stdout = ours


def _enter(stage: str, tell: Callable[[str, int | None], None]) -> float:
    tell(stage, None)
    return time.perf_counter()


def _leave(
    stage: str,
    start: float,
    seconds: dict[str, float],
    tell: Callable[[str, int | None], None],
    *,
    following: str,
) -> float:
    seconds[stage] = time.perf_counter() - start
    return _enter(following, tell)


def _write(path: Path, data: bytes | memoryview) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(data)
        beside.replace(path)
    finally:
        with suppress(FileNotFoundError):
            beside.unlink()


def _say(stage: str, percent: int | None) -> None:
    if percent is None:
        say(stage=stage)
    else:
        say(percent=percent)


def _warn(line: Line) -> None:
    if line.severity == "warning":
        say(warning=line.text)


if __name__ == "__main__":
    own_stdout()
    status = main()
    sys.stdout.flush()
    # Not sys.exit: the vendor's objects need no orderly end, and a thread waits for the parent.
    os._exit(status)
