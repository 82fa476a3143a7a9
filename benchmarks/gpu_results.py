"""What the checks of ``gpu_check.py`` give back, and how it is reported."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from typing import TypeVar

from edgekit import __version__

PACKAGES = ("numpy", "cuda-bindings", "pycuda", "torch", "tensorrt", "tensorrt-rtx")

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """One check: ``outcome`` is ``"ok"``, ``"FAILED"`` or ``"not run"``."""

    section: str
    name: str
    outcome: str
    detail: str


class NotRunError(Exception):
    """A check cannot be run here; its text says why."""


def run(check: Callable[[T], str], subject: T, *, section: str) -> Result:
    """Run a check, whose text is what it saw; what it raises is a failure."""
    name = check.__name__.replace("_", " ")
    try:
        return Result(section, name, "ok", check(subject))
    except NotRunError as error:
        return Result(section, name, "not run", str(error))
    except Exception as error:  # noqa: BLE001  # the report is to hold all, whatever one does
        return Result(section, name, "FAILED", f"{type(error).__name__}: {error}")


def expect(is_so: bool, otherwise: str) -> None:
    """Fail the check where something is not so."""
    if not is_so:
        raise AssertionError(otherwise)


def report(results: list[Result]) -> str:
    """Return the report in Markdown."""
    versions = [f"EdgeKit {__version__}", f"Python {platform.python_version()}"]
    versions += [f"{name} {metadata.version(name)}" for name in PACKAGES if is_there(name)]
    day = datetime.now(timezone.utc).strftime("%d %b %Y %H:%M UTC")
    lines = [f"{day}; {platform.machine()}, {platform.release()}; {', '.join(versions)}.", ""]
    lines += ["| section | check | outcome | what was seen |", "|---|---|---|---|"]
    for it in results:
        detail = " ".join(it.detail.split()).replace("|", "\\|")
        lines.append(f"| {it.section} | {it.name} | {it.outcome} | {detail} |")
    return "\n".join(lines)


def is_there(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False
