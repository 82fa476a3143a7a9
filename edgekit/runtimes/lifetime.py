"""When a session may be closed: never under a running call."""

from __future__ import annotations

import threading

from edgekit.errors import SessionClosedError


class Lifetime:
    """Counts the calls that are running; ``close`` waits for them and lets no other in.

    Safe to use from any thread. Entering and leaving cost one lock each, no allocation.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._running = 0
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    def enter(self) -> None:
        """Count a call in; every one is paired with ``leave``.

        Raises:
            SessionClosedError: ``close`` was called.
        """
        with self._lock:
            if self._is_closed:
                raise SessionClosedError(f"{self._what} is closed; load it again to run it")
            self._running += 1

    def leave(self) -> None:
        """Count a call out."""
        with self._lock:
            self._running -= 1
            if self._is_closed and not self._running:
                self._idle.notify_all()

    def close(self) -> bool:
        """Let no call in any more and wait until none runs.

        Returns:
            True to the first caller, who releases the engine; False to all others.
        """
        with self._lock:
            is_first = not self._is_closed
            self._is_closed = True
            while self._running:
                self._idle.wait()
        return is_first
