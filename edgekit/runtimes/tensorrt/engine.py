"""From an engine's bytes to a run: the runtime's side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.errors import TensorRtError
from edgekit.runtimes.tensorrt.log import Log
from edgekit.runtimes.tensorrt.profile import Shape, Sizes
from edgekit.runtimes.tensorrt.vendor import Vendor
from edgekit.tensor import DType

DTYPES = {
    "FLOAT": DType.FLOAT32,
    "HALF": DType.FLOAT16,
    "BF16": DType.BFLOAT16,
    "INT4": DType.INT4,
    "INT8": DType.INT8,
    "UINT8": DType.UINT8,
    "INT32": DType.INT32,
    "INT64": DType.INT64,
    "BOOL": DType.BOOL,
}
"""By name in TensorRT's ``DataType``; FP8, FP4 and E8M0 are never a network's border."""


@dataclass(frozen=True)
class EngineIo:
    """An input or output of an engine.

    Args:
        name: As in the ONNX file.
        is_input: Whether it goes in.
        dtype: Element type; before TensorRT 10 an int64 of the model is int32 here.
        shape: Sizes; -1 is dynamic.
        profiles: Per profile the smallest, usual and largest shape (of a shape tensor: values);
            empty for outputs.
        is_on_host: Whether its address must be in host memory (a tensor that holds a shape).
    """

    name: str
    is_input: bool
    dtype: DType
    shape: Shape
    profiles: tuple[Sizes, ...] = ()
    is_on_host: bool = False

    @property
    def is_static(self) -> bool:
        """Whether every size is fixed."""
        return -1 not in self.shape


class ShapeWatch:
    """Learns the shape of an output that depends on the data, such as a count of boxes.

    Args:
        capacity: Bytes of the buffer that its address has.

    Attributes:
        shape: Of the last run; None before.
        needed: Bytes that the last run asked for.
        allocator: The vendor's object behind it: the context only borrows it.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.shape: Shape | None = None
        self.needed = 0
        self.allocator: Any = None


class RunSide(Vendor):
    """Runtime, engine, context."""

    def runtime(self, log: Log | None = None) -> Any:
        """Return a runtime. Check for a GPU first: without one, 8.6 ends the process here.

        Raises:
            TensorRtError: There is no GPU.
        """
        self.listen(log)
        since = self.log.mark
        try:
            return self.module.Runtime(self.logger)
        except TypeError as error:  # "factory function returned nullptr"
            raise self.failure(
                "making a runtime", since=since, default="check the GPU: edgekit doctor"
            ) from error

    def deserialize(
        self, runtime: Any, plan: bytes | bytearray | memoryview, *, dla_core: int | None = None
    ) -> Any:
        """Return the engine of a plan.

        Args:
            runtime: Of ``runtime``.
            plan: The file's bytes.
            dla_core: Accelerator that it was built for; None is the GPU.

        Raises:
            EngineMismatchError: It is for another device or release, or no engine.
            TensorRtError: It cannot be loaded.
        """
        since = self.log.mark
        if dla_core is not None:  # before deserializing, or it takes the first core
            runtime.DLA_core = dla_core
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise self.failure("loading the engine", since=since)
        return engine

    def tensors(self, engine: Any) -> tuple[EngineIo, ...]:
        """Return the inputs and outputs, in the engine's order.

        Raises:
            TensorRtError: One has a type that EdgeKit has no name for.
        """
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        return tuple(self._tensor(engine, name) for name in names)

    def create_context(self, engine: Any) -> Any:
        """Return an execution context; one runs one call at a time.

        Raises:
            TensorRtError: Its memory cannot be had.
        """
        since = self.log.mark
        context = engine.create_execution_context()
        if context is None:
            raise self.failure("making an execution context", since=since)
        return context

    def use_profile(self, context: Any, index: int, stream: int) -> None:
        """Pick the profile of shapes for what follows; synchronise the stream before a run."""
        since = self.log.mark
        if not context.set_optimization_profile_async(index, stream):
            raise self.failure(f"choosing profile {index}", since=since)

    def set_shape(self, context: Any, name: str, shape: Sequence[int]) -> None:
        """Set an input's shape.

        Raises:
            TensorRtError: It is outside of the profile.
        """
        since = self.log.mark
        # 8.x takes nothing but its own type of shape; later releases also take a tuple.
        if not context.set_input_shape(name, self.module.Dims([int(size) for size in shape])):
            words = "x".join(map(str, shape))
            raise self.failure(f"setting input {name!r} to {words}", since=since)

    def set_address(self, context: Any, name: str, address: int) -> None:
        """Say where a tensor lies; the context keeps the address."""
        since = self.log.mark
        if not context.set_tensor_address(name, address):
            raise self.failure(f"setting the address of {name!r}", since=since)

    def execute(self, context: Any, stream: int) -> None:
        """Put a run on a stream; it has ended when the stream is synchronised.

        Raises:
            TensorRtError: It could not be put there: a shape or an address is missing.
        """
        since = self.log.mark
        if not context.execute_async_v3(stream):
            raise self.failure("running the engine", since=since)

    def missing_shapes(self, context: Any) -> tuple[str, ...]:
        """Return the inputs whose shape or values must be set before output shapes are known."""
        return tuple(str(name) for name in context.infer_shapes())

    def output_shape(self, context: Any, name: str) -> Shape:
        """Return a tensor's shape under the inputs that are set; -1 where the data decides."""
        return tuple(int(size) for size in context.get_tensor_shape(name))

    def max_output_bytes(self, context: Any, name: str) -> int:
        """Return the most that an output can need under the inputs that are set."""
        return int(context.get_max_output_size(name))

    def watch_shape(self, context: Any, name: str, *, capacity: int) -> ShapeWatch:
        """Learn the shape that the data gives an output, at every run.

        Args:
            context: Whose output.
            name: Of the output; its address must be set.
            capacity: Bytes at that address.
        """
        watch = ShapeWatch(capacity)

        def allocate(_made: Any, _name: str, memory: Any, size: int, *_more: Any) -> Any:
            watch.needed = int(size)
            return memory if size <= watch.capacity else None

        def notify(_made: Any, _name: str, shape: Any) -> None:
            watch.shape = tuple(int(size) for size in shape)

        watch.allocator = self.derive(
            "IOutputAllocator",
            {
                "reallocate_output": allocate,
                "reallocate_output_async": allocate,
                "notify_shape": notify,
            },
        )
        since = self.log.mark
        if not context.set_output_allocator(name, watch.allocator):
            raise self.failure(f"watching the shape of {name!r}", since=since)
        return watch

    def inspect(self, engine: Any) -> str:
        """Return what the engine's layers are, as TensorRT's own JSON.

        The text is full only where the engine was built with details.
        """
        since = self.log.mark
        inspector = engine.create_engine_inspector()
        if inspector is None:
            raise self.failure("inspecting the engine", since=since)
        form = self.member("LayerInformationFormat", "JSON")
        return str(inspector.get_engine_information(form))

    def _tensor(self, engine: Any, name: str) -> EngineIo:
        kind = engine.get_tensor_dtype(name).name
        if kind not in DTYPES:
            raise TensorRtError(
                f"the engine's tensor {name!r} is {kind}, which EdgeKit cannot feed; "
                "convert the model with float32 or float16 inputs and outputs"
            )
        is_input = engine.get_tensor_mode(name) == self.member("TensorIOMode", "INPUT")
        is_on_host = engine.get_tensor_location(name) == self.member("TensorLocation", "HOST")
        profiles = range(engine.num_optimization_profiles) if is_input else ()
        return EngineIo(
            name=name,
            is_input=is_input,
            dtype=DTYPES[kind],
            shape=_ints(engine.get_tensor_shape(name)),
            profiles=tuple(
                sizes
                for index in profiles
                if (sizes := self._sizes(engine, name, index, is_on_host=is_on_host)) is not None
            ),
            is_on_host=is_on_host,
        )

    def _sizes(self, engine: Any, name: str, index: int, *, is_on_host: bool) -> Sizes | None:
        if not is_on_host:
            sizes = engine.get_tensor_profile_shape(name, index)
        elif self.has("ICudaEngine.get_tensor_profile_values"):
            # Its keywords are swapped in every release that has it: by place only.
            sizes = engine.get_tensor_profile_values(index, name)
        else:  # 8.x knows them only by the old numbering of bindings
            return None
        if len(sizes) != 3:
            return None
        return _ints(sizes[0]), _ints(sizes[1]), _ints(sizes[2])


def _ints(values: Any) -> Shape:
    return tuple(int(value) for value in values)
