"""What all engines' sessions share: everything is checked, then the engine gets plain arrays."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar, TypeVar

from edgekit.artifact import Artifact, ArtifactFiles
from edgekit.errors import EngineError, SessionClosedError, UsageError
from edgekit.preprocess import Preprocess
from edgekit.runtimes.border import Border
from edgekit.runtimes.layer_times import StepTime
from edgekit.runtimes.lifetime import Lifetime
from edgekit.runtimes.matching import EngineTensors, complete, positions
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.session import Array, Session
from edgekit.tensor import TensorSpec

EngineSessionType = TypeVar("EngineSessionType", bound="EngineSession")


class EngineSession(Session):
    """A session on one engine, in this process: checks everything, then runs it.

    A backend gives ``_load`` and ``_run``, says which of the optional options it
    honours, and which exceptions its engine raises.
    """

    inference_precision: str = "fp32"
    parallel_calls: int = 1

    _border: Border
    _engine_errors: ClassVar[tuple[type[Exception], ...]] = ()
    _honoured: ClassVar[frozenset[str]] = frozenset()
    _precisions: ClassVar[tuple[str, ...]] = ("fp32", "auto")
    _reads_strided: ClassVar[bool] = False
    _writes_strided: ClassVar[bool] = False

    @classmethod
    def open(
        cls: type[EngineSessionType],
        artifact: Artifact,
        files: ArtifactFiles,
        *,
        inputs: Sequence[TensorSpec] | None = None,
        outputs: Sequence[TensorSpec] | None = None,
        options: SessionOptions | None = None,
        preprocess: Mapping[str, Preprocess] | None = None,
        reason: str = "chosen by the caller",
    ) -> EngineSessionType:
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
            words = _on_one_line(error)
            raise EngineError(f"{self.runtime} cannot load {artifact.name}: {words}") from error
        self.artifact = complete(artifact, engine)
        self.options = options
        self._input_places = positions(self.artifact.inputs, engine.inputs, kind="input")
        self._output_places = positions(self.artifact.outputs, engine.outputs, kind="output")
        self._bind()
        self._lifetime = Lifetime(f"the {self.runtime} session of {artifact.name}")
        self._executor: ThreadPoolExecutor | None = None
        self._executor_lock = threading.Lock()

    def _refuse_options(self, options: SessionOptions) -> None:
        for name in ("graph_optimization", "xnnpack", "engine"):
            if getattr(options, name) is not None and name not in self._honoured:
                raise UsageError(f"{self.runtime} has no option {name}; leave it out")
        if options.profile and not self.can_profile():
            raise UsageError(f"{self.runtime} does not measure its steps; leave profile out")
        if options.inference_precision not in self._precisions:
            raise UsageError(
                f"{self.runtime} cannot compute in {options.inference_precision!r}; "
                f"it can in: {', '.join(self._precisions)}"
            )

    @classmethod
    def can_profile(cls) -> bool:
        """Whether the engine measures what each of its steps takes."""
        return "profile" in cls._honoured

    def step_times(self, *, calls: int) -> tuple[StepTime, ...]:
        """Return what the engine's steps took, each over the last calls.

        Call it after all runs: ONNX Runtime measures none that come later.

        Args:
            calls: How many of them to look at.

        Raises:
            UsageError: The session was not opened with ``SessionOptions(profile=True)``.
            SessionClosedError: The session is closed.
        """
        if not self.options.profile:
            raise UsageError(
                f"this {self.runtime} session has no profile; open it with "
                "SessionOptions(profile=True)"
            )
        self._lifetime.enter()
        try:
            return self._step_times(calls)
        finally:
            self._lifetime.leave()

    def run(
        self, inputs: Mapping[str, Array], *, outputs: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """See ``Session.run``."""
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
        """See ``Session.run_async``."""
        self._lifetime.enter()
        try:
            feed = self._border.encode(inputs, copy=True)
            try:
                return self._threads().submit(self._run_fed, feed)
            except RuntimeError as error:  # shut down between the two lines
                raise SessionClosedError(f"the {self.runtime} session was closed") from error
        finally:
            self._lifetime.leave()

    def close(self) -> None:
        """See ``Session.close``."""
        if not self._lifetime.close():
            return
        self._release()
        # Threads end after the engine: OpenVINO 2026.4 crashes where one ends while it goes.
        with self._executor_lock:
            if self._executor is not None:  # not joined: the caller may be one of them
                self._executor.shutdown(wait=False)

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

    def _step_times(self, calls: int) -> tuple[StepTime, ...]:
        """Return what the steps took; where ``"profile"`` is honoured."""
        raise NotImplementedError(f"{type(self).__name__} honours profile and has no _step_times")

    @abstractmethod
    def _release(self) -> None:
        """Drop the engine; no call runs any more."""

    def _call(self, feed: list[Array], into: list[Array | None] | None) -> list[Array]:
        try:
            return self._run(feed, into)
        except self._engine_errors as error:
            words = _on_one_line(error)
            raise EngineError(f"{self.runtime} failed on {self.artifact.name}: {words}") from error

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


def _on_one_line(error: Exception) -> str:
    """Return an engine's own words: they run over several lines, with rules between."""
    return " ".join(str(error).split())
