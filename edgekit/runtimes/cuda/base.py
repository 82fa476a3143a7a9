"""The little of CUDA that a session needs: memory, streams, events, graphs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from edgekit.errors import CudaError

__all__ = ["Cuda", "CudaError", "DeviceProperties", "failure", "is_newer"]

_ADVICE = {
    2: "free memory, or use a smaller batch or workspace",
    3: "see whether nvidia-smi, or tegrastats on a Jetson, works",
    35: "install or update NVIDIA's driver, or use a CUDA runtime that is as old as it",
    46: "another process has the GPU for itself; end it",
    100: "see nvidia-smi and CUDA_VISIBLE_DEVICES; in a container, start it with --gpus all or "
    "--runtime nvidia",
    101: "number GPUs from 0, as nvidia-smi -L lists them",
    209: "build the engine on this device",
    700: "memory outside an allocation was used; CUDA stays broken until the process is restarted",
    719: "a kernel crashed; CUDA stays broken until the process is restarted",
    900: "run once before recording a graph, or turn graphs off",
    901: "turn graphs off",
}
"""What to do, by CUDA's numbers, which have not changed from CUDA 11 to 13."""


def failure(function: str, *, name: str, words: str, number: int) -> CudaError:
    """Return the error for a call that failed: CUDA's words, name and number, and what to do."""
    advice = _ADVICE.get(number)
    todo = f"; {advice}" if advice else ""
    return CudaError(f"{function} failed: {words} ({name}, CUDA error {number}){todo}")


def is_newer(runtime: tuple[int, int], *, than_driver: tuple[int, int]) -> bool:
    """Return whether a runtime is too new for the driver; without a driver, (0, 0), none is.

    Within a major version a newer runtime works on an older driver (NVIDIA's "CUDA
    Compatibility", minor version compatibility, from CUDA 11 on).
    """
    return 0 < than_driver[0] < runtime[0]


@dataclass(frozen=True)
class DeviceProperties:
    """One GPU.

    Args:
        name: As NVIDIA calls it, such as ``"Orin"``.
        compute: Compute capability, such as ``(8, 7)``.
        total_bytes: Its memory; the machine's own where it is integrated.
        is_integrated: Whether CPU and GPU share their memory, as on a Jetson.
        can_map_host: Whether the GPU reads and writes pinned host memory itself.
        sm_count: Number of its multiprocessors.
    """

    name: str
    compute: tuple[int, int]
    total_bytes: int
    is_integrated: bool
    can_map_host: bool
    sm_count: int


class Cuda(ABC):
    """CUDA through one provider, in the device's primary context.

    Addresses, streams, events and graphs are plain integers. What CUDA answers with another
    code than success raises ``CudaError`` with the function and CUDA's own words.

    Attributes:
        name: Of the provider.
        has_graphs: Whether calls can be captured into graphs.
    """

    name: ClassVar[str]
    has_graphs: bool = True

    @abstractmethod
    def runtime_version(self) -> tuple[int, int]:
        """Return the version of the CUDA runtime, such as ``(12, 6)``.

        Raises:
            CudaError: CUDA 11's own does not tell it where there is no driver.
        """

    @abstractmethod
    def driver_version(self) -> tuple[int, int]:
        """Return the newest CUDA that the driver supports; ``(0, 0)`` without a driver."""

    @abstractmethod
    def device_count(self) -> int:
        """Return how many GPUs can be used; 0 without a driver or a GPU, never an error."""

    @abstractmethod
    def properties(self, device: int = 0) -> DeviceProperties:
        """Return what a GPU is; makes it the one in use."""

    @abstractmethod
    def use(self, device: int) -> None:
        """Make the calling thread use the GPU's primary context."""

    @abstractmethod
    def memory(self) -> tuple[int, int]:
        """Return free and total bytes of the GPU in use."""

    @abstractmethod
    def malloc(self, nbytes: int) -> int:
        """Return the address of new device memory."""

    @abstractmethod
    def free(self, address: int) -> None:
        """Give device memory back."""

    @abstractmethod
    def host_alloc(self, nbytes: int, *, mapped: bool = False) -> int:
        """Return the address of new pinned host memory.

        Args:
            nbytes: Size.
            mapped: Whether the GPU is to read and write it; ``device_pointer`` says where.
        """

    @abstractmethod
    def host_free(self, address: int) -> None:
        """Give pinned host memory back."""

    @abstractmethod
    def device_pointer(self, host_address: int) -> int:
        """Return where the GPU sees mapped host memory."""

    @abstractmethod
    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        """Put a copy on a stream; which way is told by the addresses."""

    @abstractmethod
    def stream_create(self) -> int:
        """Return a new stream, which does not wait for the default one."""

    @abstractmethod
    def stream_synchronize(self, stream: int) -> None:
        """Wait until everything on a stream is done."""

    @abstractmethod
    def stream_destroy(self, stream: int) -> None:
        """End a stream."""

    @abstractmethod
    def event_create(self) -> int:
        """Return a new event that takes the time."""

    @abstractmethod
    def event_record(self, event: int, stream: int) -> None:
        """Put an event on a stream."""

    @abstractmethod
    def event_synchronize(self, event: int) -> None:
        """Wait until an event has happened."""

    @abstractmethod
    def event_elapsed_ms(self, start: int, stop: int) -> float:
        """Return the milliseconds between two events that have happened."""

    @abstractmethod
    def event_destroy(self, event: int) -> None:
        """End an event."""

    def graph_begin(self, stream: int) -> None:
        """Begin to record what is put on a stream, instead of doing it."""
        raise self._no_graphs()

    def graph_end(self, stream: int) -> int:
        """End the recording; return a graph that can be launched."""
        raise self._no_graphs()

    def graph_launch(self, graph: int, stream: int) -> None:
        """Put all that a graph holds on a stream."""
        raise self._no_graphs()

    def graph_destroy(self, graph: int) -> None:
        """End a graph."""
        raise self._no_graphs()

    def _no_graphs(self) -> CudaError:
        return CudaError(
            f"{self.name} has no graphs; install cuda-bindings, or set EDGEKIT_CUDA=cudart"
        )
