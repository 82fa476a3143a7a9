"""Serve now, swap later: answer from what is ready while a better engine is made beside it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.errors import EdgeKitError, SessionClosedError
from edgekit.runtimes.lifetime import Lifetime
from edgekit.runtimes.session import Array, Session

if TYPE_CHECKING:
    from edgekit.artifact import Artifact
    from edgekit.tensor import TensorSpec

logger = logging.getLogger(__name__)

WARMING, SWAPPED, STAYED = "warming", "swapped", "stayed"


@dataclass(frozen=True)
class WarmState:
    """How far the better engine is.

    Args:
        stage: ``"warming"``, ``"swapped"``, or ``"stayed"`` where it will not come.
        detail: What it does now, or why it stayed.
    """

    stage: str
    detail: str

    def __str__(self) -> str:
        return f"{self.stage}: {self.detail}"


Tell = Callable[[str], None]
"""Told what is done now. It raises once the session is closed, which ends the work."""


@dataclass(frozen=True)
class _Turn:
    """A session while it is the one that answers, and the calls that count on it."""

    session: Session
    lifetime: Lifetime


class WarmSession(Session):
    """A session that starts on what is ready and moves to a better one between two calls.

    No call is dropped: those that run when the better session comes end on the old one,
    which is closed behind them. Where the better one cannot be made, or does not replay the
    goldens, everything stays as it is, and ``state`` says why.

    All attributes are those of what runs at the moment.

    Args:
        ready: What answers at once.
        prepare: Makes the better session, in a thread of its own.
        judge: Returns ``""`` where the better session may be trusted, else why not.
    """

    def __init__(
        self,
        ready: Session,
        prepare: Callable[[Tell], Session],
        *,
        judge: Callable[[Session], str],
    ) -> None:
        self._turn = _Turn(ready, Lifetime("the session"))
        self._prepare = prepare
        self._judge = judge
        self._state = WarmState(WARMING, "start")
        self._is_closed = threading.Event()
        self._is_settled = threading.Event()
        self._swap = threading.Lock()
        self._thread = threading.Thread(target=self._warm, name="edgekit-warm", daemon=True)
        self._thread.start()

    @property
    def state(self) -> WarmState:
        """How far the better engine is."""
        return self._state

    @property
    def runtime(self) -> str:  # type: ignore[override]  # it changes, and nobody sets it
        """Name of what runs now."""
        return self._turn.session.runtime

    @property
    def version(self) -> str:  # type: ignore[override]
        """Version of what runs now."""
        return self._turn.session.version

    @property
    def inference_precision(self) -> str:  # type: ignore[override]
        """What the engine computes in now."""
        return self._turn.session.inference_precision

    @property
    def parallel_calls(self) -> int:  # type: ignore[override]
        """How many calls run at once now."""
        return self._turn.session.parallel_calls

    @property
    def artifact(self) -> Artifact:  # type: ignore[override]
        """What is loaded now."""
        return self._turn.session.artifact

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:  # type: ignore[override]
        """Logical inputs; the same before and after."""
        return self._turn.session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:  # type: ignore[override]
        """Logical outputs; the same before and after."""
        return self._turn.session.outputs

    @property
    def reason(self) -> str:  # type: ignore[override]
        """Why this runs now."""
        return f"{self._turn.session.reason}; {self._state}"

    def run(
        self, inputs: Mapping[str, Array], *, outputs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """See ``Session.run``."""
        turn = self._enter()
        try:
            return turn.session.run(inputs, outputs=outputs)
        finally:
            turn.lifetime.leave()

    def run_async(self, inputs: Mapping[str, Array]) -> Future[dict[str, Array]]:
        """See ``Session.run_async``."""
        turn = self._enter()
        try:
            future = turn.session.run_async(inputs)
        except BaseException:
            turn.lifetime.leave()
            raise
        # Until it is done: what waits in the old session's queue is not failed by the swap.
        future.add_done_callback(lambda _: turn.lifetime.leave())
        return future

    def wait(self, timeout_s: float | None = None) -> WarmState:
        """Wait until the better engine has come or will not come; return the state."""
        self._is_settled.wait(timeout_s)
        return self._state

    def close(self) -> None:
        """End the work on the better engine, then close as any session."""
        self._is_closed.set()
        self._thread.join()
        if self._turn.lifetime.close():
            self._turn.session.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state} {self._turn.session!r}>"

    def _enter(self) -> _Turn:
        """Count a call in; a turn that has just ended is left for the one behind it."""
        while True:
            turn = self._turn
            try:
                turn.lifetime.enter()
            except SessionClosedError:
                if turn is self._turn:
                    raise
            else:
                return turn

    def _warm(self) -> None:
        try:
            self._settle(self._attempt())
        except (EdgeKitError, OSError, ImportError) as error:
            self._settle(WarmState(STAYED, str(error)))
        finally:
            self._is_settled.set()

    def _attempt(self) -> WarmState:
        better = self._prepare(self._tell)
        reason = self._unlike(better) or self._doubt(better)
        if reason:
            better.close()
            return WarmState(STAYED, reason)
        return self._take(better)

    def _unlike(self, better: Session) -> str:
        """Return why callers would notice another model, or ``""``."""
        for ours, theirs in ((self.inputs, better.inputs), (self.outputs, better.outputs)):
            if [(spec.name, spec.dtype) for spec in ours] != [
                (spec.name, spec.dtype) for spec in theirs
            ]:
                return (
                    f"{better.artifact.name} takes or gives other tensors than "
                    f"{self.artifact.name}; name one artifact"
                )
        return ""

    def _doubt(self, better: Session) -> str:
        self._tell("replay the goldens")
        return self._judge(better)

    def _take(self, better: Session) -> WarmState:
        with self._swap:
            if self._is_closed.is_set():
                better.close()
                return WarmState(STAYED, "closed before it came")
            old, self._turn = self._turn, _Turn(better, Lifetime("the session"))
        old.lifetime.close()  # waits for the calls that run on it
        old.session.close()
        return WarmState(SWAPPED, f"{better.runtime} with {better.artifact.name}")

    def _settle(self, state: WarmState) -> None:
        self._state = state
        logger.info("%s", state)

    def _tell(self, stage: str) -> None:
        if self._is_closed.is_set():
            raise SessionClosedError("the session was closed while the engine was made")
        self._state = WarmState(WARMING, stage)
