"""The one abstract session: it checks everything, then hands plain arrays to the engine."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact, ArtifactFiles
from edgekit.errors import EngineError, SessionClosedError, UsageError
from edgekit.preprocess import Preprocess
from edgekit.runtimes.border import Border
from edgekit.runtimes.lifetime import Lifetime
from edgekit.runtimes.matching import EngineTensors, complete, positions
from edgekit.runtimes.options import SessionOptions
from edgekit.tensor import TensorSpec

Array = NDArray[Any]
SessionType = TypeVar("SessionType", bound="Session")


class Session(ABC):
    """A model that is ready to run.

    Everything that crosses it is *logical*: the source model's names, shapes and layout,
    however the artifact stores them. ``run`` may be called from any thread, and ``close``
    while others run: it waits for them.

    A backend gives ``_load`` and ``_run``, says which of the optional options it
    honours, and which exceptions its engine raises.

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

    runtime: ClassVar[str]
    version: str
    inference_precision: str = "fp32"
    parallel_calls: int = 1
    artifact: Artifact
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    reason: str

    _border: Border
    _engine_errors: ClassVar[tuple[type[Exception], ...]] = ()
    _honoured: ClassVar[frozenset[str]] = frozenset()
    _precisions: ClassVar[tuple[str, ...]] = ("fp32", "auto")
    _reads_strided: ClassVar[bool] = False
    _writes_strided: ClassVar[bool] = False

    @classmethod
    def open(
        cls: type[SessionType],
        artifact: Artifact,
        files: ArtifactFiles,
        *,
        inputs: Sequence[TensorSpec] | None = None,
        outputs: Sequence[TensorSpec] | None = None,
        options: SessionOptions | None = None,
        preprocess: Mapping[str, Preprocess] | None = None,
        reason: str = "chosen by the caller",
    ) -> SessionType:
        """Load the artifact and return the session.

        Args:
            artifact: What to load; without inputs and outputs they are read from the file.
            files: Its files.
            inputs: Logical inputs, as the manifest has them; None derives them.
            outputs: Likewise.
            options: What is asked of the engine.
            preprocess: Per input that takes camera frames, how they become the input.
            reason: Why this runtime was taken.

        Raises:
            UsageError: The engine cannot honour an option.
            EngineError: The engine cannot load the file, or it is not what the artifact says.
        """
        session = cls()
        session._open(artifact, files, options or SessionOptions())
        session._border = Border(
            session.artifact,
            inputs=inputs,
            outputs=outputs,
            preprocess=preprocess or {},
            reads_strided=cls._reads_strided,
            writes_strided=cls._writes_strided,
        )
        session.inputs, session.outputs = session._border.inputs, session._border.outputs
        session.reason = reason
        return session

    def _open(self, artifact: Artifact, files: ArtifactFiles, options: SessionOptions) -> None:
        self._refuse_options(options)
        for role in artifact.files:
            files.path(role)  # A bundle compares each with its hash, before an engine reads it.
        try:
            engine = self._load(artifact, files, options)
        except self._engine_errors as error:
            raise EngineError(f"{self.runtime} cannot load {artifact.name}: {error}") from error
        self.artifact = complete(artifact, engine)
        self.options = options
        self._input_places = positions(self.artifact.inputs, engine.inputs, kind="input")
        self._output_places = positions(self.artifact.outputs, engine.outputs, kind="output")
        self._bind()
        self._lifetime = Lifetime(f"the {self.runtime} session of {artifact.name}")
        self._executor: ThreadPoolExecutor | None = None
        self._executor_lock = threading.Lock()

    def _refuse_options(self, options: SessionOptions) -> None:
        for name in ("graph_optimization", "xnnpack"):
            if getattr(options, name) is not None and name not in self._honoured:
                raise UsageError(f"{self.runtime} has no option {name}; leave it out")
        if options.inference_precision not in self._precisions:
            raise UsageError(
                f"{self.runtime} cannot compute in {options.inference_precision!r}; "
                f"it can in: {', '.join(self._precisions)}"
            )

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
        self._lifetime.enter()
        try:
            feed = self._border.encode(inputs, copy=False)
            if outputs is None:
                return self._border.decode(self._call(feed, None))
            places = self._border.place_buffers(outputs)
            return self._border.fill(self._call(feed, places), outputs, filled=places)
        finally:
            self._lifetime.leave()

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
        self._lifetime.enter()
        try:
            feed = self._border.encode(inputs, copy=True)
            try:
                return self._threads().submit(self._run_fed, feed)
            except RuntimeError as error:  # shut down between the two lines
                raise SessionClosedError(f"the {self.runtime} session was closed") from error
        finally:
            self._lifetime.leave()

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

    def close(self) -> None:
        """Wait for the running calls, then release the engine; calling it twice is fine."""
        if not self._lifetime.close():
            return
        self._release()
        # Threads end after the engine: OpenVINO 2026.4 crashes where one ends while it goes.
        with self._executor_lock:
            if self._executor is not None:  # not joined: the caller may be one of them
                self._executor.shutdown(wait=False)

    def __enter__(self: SessionType) -> SessionType:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._lifetime.is_closed else self.inference_precision
        return f"<{type(self).__name__} {self.artifact.name} {self.version} {state}>"

    @abstractmethod
    def _load(
        self, artifact: Artifact, files: ArtifactFiles, options: SessionOptions
    ) -> EngineTensors:
        """Load the engine; set ``version``, ``inference_precision`` and ``parallel_calls``."""

    def _bind(self) -> None:
        """Precompute what ``_run`` needs; the artifact and the engine's places are known."""
        return

    @abstractmethod
    def _run(self, feed: list[Array], into: list[Array | None] | None) -> list[Array]:
        """Run the engine once; called from several threads.

        Args:
            feed: Stored arrays in the artifact's order; ``_input_places`` are the engine's
                positions. C-contiguous unless ``_reads_strided``.
            into: Per output None or the array to fill and return, C-contiguous unless
                ``_writes_strided``; None where there is none.

        Returns:
            Stored arrays in the artifact's order, which nothing else will change.
        """

    @abstractmethod
    def _release(self) -> None:
        """Drop the engine; no call runs any more."""

    def _call(self, feed: list[Array], into: list[Array | None] | None) -> list[Array]:
        try:
            return self._run(feed, into)
        except self._engine_errors as error:
            raise EngineError(f"{self.runtime} failed on {self.artifact.name}: {error}") from error

    def _run_fed(self, feed: list[Array]) -> dict[str, Array]:
        self._lifetime.enter()
        try:
            return self._border.decode(self._call(feed, None))
        finally:
            self._lifetime.leave()

    def _threads(self) -> ThreadPoolExecutor:
        with self._executor_lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(
                    self.parallel_calls, thread_name_prefix=f"edgekit-{self.runtime}"
                )
            return self._executor

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
