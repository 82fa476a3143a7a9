"""A model that is ready to run, whatever runs it: what apps are written against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.errors import UsageError
from edgekit.tensor import TensorSpec

Array = NDArray[Any]
SessionType = TypeVar("SessionType", bound="Session")


class Session(ABC):
    """A model that is ready to run.

    Everything that crosses it is *logical*: the source model's names, shapes and layout,
    however the artifact stores them. ``run`` may be called from any thread, and ``close``
    while others run: it waits for them.

    Attributes:
        runtime: Name in ``RUNTIMES``.
        version: The engine's own version.
        artifact: What is loaded.
        inputs: Logical inputs; a fused one is the uint8 pixels that the artifact takes.
        outputs: Logical outputs.
        inference_precision: What the engine computes in.
        reason: Why this runtime was taken.
        parallel_calls: How many calls the engine runs at once.
    """

    runtime: str
    version: str
    inference_precision: str
    parallel_calls: int
    artifact: Artifact
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    reason: str

    @abstractmethod
    def run(
        self, inputs: Mapping[str, Array], *, outputs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """Run the model once.

        Args:
            inputs: Every input by name: an array of its dtype and shape, or, where the
                input has a preprocessing, a uint8 frame (height, width[, channels]).
            outputs: Buffers to fill, by name, for some or all outputs; they are what is
                returned, so that a loop allocates nothing.

        Returns:
            Every output by name. The arrays belong to the caller; one that the artifact
            stores permuted is a strided view.

        Raises:
            InputError: A name, shape or dtype is not what the model takes.
            SessionClosedError: The session is closed.
            EngineError: The engine failed.
        """

    @abstractmethod
    def run_async(self, inputs: Mapping[str, Array]) -> Future[dict[str, Array]]:
        """Check and copy the inputs, then run in another thread.

        The caller may reuse its arrays as soon as this returns; ``parallel_calls`` run at
        once, the others wait. A session that is closed meanwhile fails those that wait.

        Returns:
            A future of what ``run`` returns.

        Raises:
            InputError: A name, shape or dtype is not what the model takes.
            SessionClosedError: The session is closed.
        """

    def map(
        self, frames: Iterable[Mapping[str, Array] | Array], *, queue_size: int | None = None
    ) -> Iterator[dict[str, Array]]:
        """Run a stream; yield the results in its order.

        Args:
            frames: Inputs by name, or, for a model with one input, arrays or frames.
            queue_size: How many may be taken from ``frames`` ahead of the result that is
                being waited for; None is twice ``parallel_calls``. Nothing more is read
                while they are pending, so a camera is slowed down, not buffered.

        Raises:
            UsageError: The queue size is below 1.
            InputError, SessionClosedError, EngineError: As for ``run``, when reached.
        """
        size = 2 * self.parallel_calls if queue_size is None else queue_size
        if size < 1:
            raise UsageError(f"queue size {size}; at least 1 is needed")
        return self._stream(frames, size)

    @abstractmethod
    def close(self) -> None:
        """Wait for the running calls, then release the engine; calling it twice is fine."""

    def __enter__(self: SessionType) -> SessionType:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _stream(
        self, frames: Iterable[Mapping[str, Array] | Array], size: int
    ) -> Iterator[dict[str, Array]]:
        pending: deque[Future[dict[str, Array]]] = deque()
        try:
            for frame in frames:
                pending.append(self.run_async(self._as_inputs(frame)))
                if len(pending) == size:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def _as_inputs(self, frame: Mapping[str, Array] | Array) -> Mapping[str, Array]:
        if isinstance(frame, np.ndarray) and len(self.inputs) == 1:
            return {self.inputs[0].name: frame}
        return frame  # type: ignore[return-value]  # the border refuses what is no mapping
