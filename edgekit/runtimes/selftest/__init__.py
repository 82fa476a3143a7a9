"""Run everything on the real device, and write down what came of it.

Where nobody has a board, a test on the real thing is one that a user runs: it proves the
device to the user, and its report proves EdgeKit to us. Nothing is sent anywhere.

To add a check: a function that returns a detail in words or raises, in a file here, and a
line in that file's table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgekit.errors import EdgeKitError, MissingDependencyError

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

_FAILURES = (
    EdgeKitError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a check may raise: the report is to hold all of them, whatever one runs into."""


class Skip(Exception):
    """A check that cannot be made here; its text says why."""


@dataclass(frozen=True)
class Check:
    """What came of one check.

    Args:
        area: ``"cuda"``, ``"tensorrt"``.
        name: What was checked.
        status: ``"passed"``, ``"failed"`` or ``"skipped"``.
        detail: Figures, or why not.
        seconds: It took.
    """

    area: str
    name: str
    status: str
    detail: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)


def run_checks(
    area: str,
    checks: Mapping[str, Callable[[], str]],
    *,
    tell: Callable[[str], None] = lambda stage: None,
) -> tuple[Check, ...]:
    """Run checks one after the other; one that fails does not stop the others.

    Args:
        area: What they belong to.
        checks: By name; each returns its detail, raises ``Skip`` or that something is not
            installed, or fails by raising.
        tell: Told the name of each as it starts.
    """
    done = []
    for name, check in checks.items():
        tell(f"{area}: {name}")
        start = time.perf_counter()
        try:
            status, detail = PASSED, check()
        except (Skip, MissingDependencyError) as reason:
            status, detail = SKIPPED, str(reason)
        except _FAILURES as error:
            status, detail = FAILED, f"{type(error).__name__}: {error}"
        done.append(Check(area, name, status, detail, time.perf_counter() - start))
    return tuple(done)


def expect(is_so: bool, otherwise: str) -> None:
    """Fail the check where something is not so."""
    if not is_so:
        raise AssertionError(otherwise)
