"""A simulated TensorRT: the run side of its module, over ONNX Runtime and a simulated CUDA.

An "engine" is an ONNX file behind a tag. Addresses are those of ``cuda_simulation``, so that
what a session copies where is seen in the numbers. Every class is held against what a real
release offers: a method that the release has not is taken away, and one that none has fails.
"""

from __future__ import annotations

import ctypes
import enum
import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
from cuda_simulation import SimulatedCuda

from edgekit.runtimes.tensorrt.api import Api

TAG = b"simulated engine\n"
TYPES = {
    "tensor(float)": ("FLOAT", "float32"),
    "tensor(float16)": ("HALF", "float16"),
    "tensor(int64)": ("INT64", "int64"),
    "tensor(int32)": ("INT32", "int32"),
    "tensor(uint8)": ("UINT8", "uint8"),
    "tensor(int8)": ("INT8", "int8"),
    "tensor(bool)": ("BOOL", "bool"),
}


def simulated_api(
    offers: Mapping[str, Any],
    cuda: SimulatedCuda,
    *,
    profiles: Mapping[str, tuple[tuple[int, ...], ...]] | None = None,
) -> Api:
    """Return the real adapter over a simulated module of a release.

    Args:
        offers: What a release offers, as ``tensorrt_api.describe`` returns it.
        cuda: Where its addresses are.
        profiles: Smallest, usual and largest shape of each dynamic input.
    """
    enums = {name: enum.IntEnum(name, members) for name, members in offers["enums"].items()}
    names = {name: number for number, name in enumerate(offers["severities"])}
    world = World(cuda, enums, dict(profiles or {}))
    kinds = {
        "Runtime": _bound(Runtime, world),
        "ICudaEngine": Engine,
        "IExecutionContext": Context,
        "EngineInspector": Inspector,
    }
    for name, kind in kinds.items():
        _hold_against(name, kind, offers["classes"][name])
    module = SimpleNamespace(
        __version__=offers["version"],
        ILogger=type("ILogger", (), {"Severity": enum.IntEnum("Severity", names)}),
        IOutputAllocator=type("IOutputAllocator", (), {}),
        Dims=tuple,
        **kinds,
        **enums,
    )
    return Api(module, "full")


def _bound(kind: type, world: World) -> type:
    return type(kind.__name__, (kind,), {"world": world})


def _hold_against(name: str, kind: type, offered: Mapping[str, Any]) -> None:
    public = {item for item in dir(kind) if not item.startswith("_")} - {"world"}
    unknown = public - set(offered)
    assert not unknown, f"the real {name} has no {sorted(unknown)}"


class World:
    """What all objects of a module share; it records what was called.

    Attributes:
        calls: Names of the calls that matter for their order.
        fail: Name of a method that answers as NVIDIA does where something is wrong.
    """

    def __init__(
        self,
        cuda: SimulatedCuda,
        enums: Mapping[str, Any],
        profiles: Mapping[str, tuple[tuple[int, ...], ...]],
    ) -> None:
        self.cuda = cuda
        self.enums = enums
        self.profiles = profiles
        self.calls: list[str] = []
        self.fail = ""


class Runtime:
    """``tensorrt.Runtime``."""

    world: World

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self.DLA_core = -1

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
        if not serialized_engine.startswith(TAG):
            words = "Serialization assertion plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed."
            line = f"1: [runtime.cpp::parsePlan::314] Error Code 1: Serialization ({words})"
            self._logger.log(type(self._logger).Severity["ERROR"], line)
            return None
        return Engine(self.world, serialized_engine[len(TAG) :])


class Engine:
    """``tensorrt.ICudaEngine``."""

    def __init__(self, world: World, model: bytes) -> None:
        self._world = world
        self._session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._inputs = {item.name: item for item in self._session.get_inputs()}
        self._outputs = {item.name: item for item in self._session.get_outputs()}
        self._all = {**self._inputs, **self._outputs}

    @property
    def num_io_tensors(self) -> int:
        return len(self._all)

    @property
    def num_optimization_profiles(self) -> int:
        return 1

    def get_tensor_name(self, index: int) -> str:
        return list(self._all)[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return self._world.enums["DataType"][TYPES[self._all[name].type][0]]

    def get_tensor_mode(self, name: str) -> Any:
        return self._world.enums["TensorIOMode"]["INPUT" if name in self._inputs else "OUTPUT"]

    def get_tensor_location(self, name: str) -> Any:
        return self._world.enums["TensorLocation"]["DEVICE"]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self._all[name].shape)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        shape = self.get_tensor_shape(name)
        return list(self._world.profiles.get(name, (shape, shape, shape)))

    def create_execution_context(self) -> Context | None:
        return None if self._world.fail == "create_execution_context" else Context(self)

    def create_engine_inspector(self) -> Inspector:
        return Inspector()


class Inspector:
    """``tensorrt.EngineInspector``."""

    def get_engine_information(self, format: Any) -> str:
        return json.dumps({"Layers": ["conv + relu"], "Bindings": []})


class Context:
    """``tensorrt.IExecutionContext``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._world = engine._world
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, Any] = {}
        self._shapes = {
            name: engine.get_tensor_shape(name)
            for name in engine._inputs
            if -1 not in engine.get_tensor_shape(name)
        }

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        self._world.calls.append(f"set_input_shape {name}")
        if not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            return False
        self._shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._world.calls.append(f"set_tensor_address {name}")
        self._addresses[name] = memory
        return bool(memory % 256 == 0)

    def infer_shapes(self) -> list[str]:
        return [name for name in self._engine._inputs if name not in self._shapes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._engine._inputs:
            return self._shapes.get(name, self._engine.get_tensor_shape(name))
        known = self._sizes()
        return tuple(
            size if isinstance(size, int) else known.get(size, -1)
            for size in self._engine._outputs[name].shape
        )

    def get_max_output_size(self, name: str) -> int:
        return 1024

    def set_output_allocator(self, name: str, output_allocator: Any) -> bool:
        self._allocators[name] = output_allocator
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if self._world.fail == "execute_async_v3" or self.infer_shapes():
            return False
        if set(self._addresses) != set(self._engine._all):
            return False
        self._world.calls.append("execute_async_v3")
        self._world.cuda.launch(stream_handle, self._compute())
        return True

    def _compute(self) -> Callable[[], None]:
        addresses, shapes = dict(self._addresses), dict(self._shapes)

        def compute() -> None:
            feed = {
                name: _array(addresses[name], shapes[name], TYPES[item.type][1])
                for name, item in self._engine._inputs.items()
            }
            names = list(self._engine._outputs)
            for name, value in zip(names, self._engine._session.run(names, feed), strict=True):
                allocator = self._allocators.get(name)
                place = addresses[name]
                if allocator is not None:
                    place = allocator.reallocate_output(name, place, value.nbytes, 256)
                    allocator.notify_shape(name, value.shape)
                if place:
                    ctypes.memmove(place, np.ascontiguousarray(value).ctypes.data, value.nbytes)

        return compute

    def _sizes(self) -> dict[str, int]:
        known = {}
        for name, item in self._engine._inputs.items():
            for size, given in zip(item.shape, self._shapes.get(name, ()), strict=False):
                if isinstance(size, str):
                    known[size] = given
        return known


def _array(address: int, shape: tuple[int, ...], dtype: str) -> Any:
    made = np.empty(shape, dtype)
    ctypes.memmove(made.ctypes.data, address, made.nbytes)
    return made
