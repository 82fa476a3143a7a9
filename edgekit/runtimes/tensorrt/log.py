"""What NVIDIA's library said, kept so that a failure can be told."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

SEVERITIES = ("internal_error", "error", "warning", "info")
"""The vendor's, worst first; its verbose lines are not kept: a build writes 100 000 of them."""
_ERRORS = SEVERITIES[:2]
_LIMIT = 2000


@dataclass(frozen=True)
class Line:
    """One line of the log.

    Args:
        severity: One of ``SEVERITIES``.
        text: As NVIDIA wrote it.
        thread: Identifier of the thread that wrote it.
        index: Its number since the log began.
    """

    severity: str
    text: str
    thread: int
    index: int


class Log:
    """The newest lines, from any thread.

    Args:
        tell: Called with every line as it comes.
    """

    def __init__(self, tell: Callable[[Line], None] | None = None) -> None:
        self._lines: deque[Line] = deque(maxlen=_LIMIT)
        self._count = 0
        self._tell = tell
        self._lock = threading.Lock()

    def add(self, severity: str, text: str) -> None:
        """Keep a line."""
        with self._lock:
            line = Line(severity, text.strip(), threading.get_ident(), self._count)
            self._lines.append(line)
            self._count += 1
        logger.debug("%s: %s", severity, line.text)
        if self._tell is not None:
            self._tell(line)

    @property
    def mark(self) -> int:
        """A place in the log: give it to ``errors`` for what came after it."""
        return self._count

    def errors(self, since: int = 0) -> list[str]:
        """Return the error lines after a mark, oldest first.

        Where this thread wrote some, those of others are left out: they belong to a call
        of theirs. A builder's own threads count where this one wrote none.
        """
        lines = [line for line in self.lines() if line.index >= since and line.severity in _ERRORS]
        own = [line for line in lines if line.thread == threading.get_ident()]
        return [line.text for line in own or lines]

    def warnings(self, since: int = 0) -> list[str]:
        """Return the warnings after a mark, oldest first."""
        return [
            line.text for line in self.lines() if line.index >= since and line.severity == "warning"
        ]

    def lines(self) -> tuple[Line, ...]:
        """Return all that is kept."""
        with self._lock:
            return tuple(self._lines)

    def text(self, last: int = 20) -> str:
        """Return the newest lines as text."""
        return "\n".join(f"[{line.severity}] {line.text}" for line in self.lines()[-last:])
