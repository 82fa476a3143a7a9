"""This machine as TensorRT sees it: opened once, and only where that is safe."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import CudaError, RuntimeUnavailableError
from edgekit.runtimes.cuda import open_cuda
from edgekit.runtimes.engines import DeviceFacts, EngineStore
from edgekit.runtimes.jetson.power import read_power
from edgekit.runtimes.tensorrt.api import Api, open_api
from edgekit.runtimes.tensorrt.child import Limits, run_child

if TYPE_CHECKING:
    from edgekit.runtimes.cuda.base import Cuda, DeviceProperties

_PROBE = "edgekit.runtimes.tensorrt.probe"
_PROBE_S = 120.0
"""The first start of CUDA on a board can take many seconds."""


@dataclass(frozen=True)
class Machine:
    """TensorRT, CUDA and the GPU.

    Args:
        api: TensorRT.
        cuda: CUDA.
        device: Number of the GPU.
        properties: Of the GPU.
        facts: What an engine has to fit.
    """

    api: Api
    cuda: Cuda
    device: int
    properties: DeviceProperties
    facts: DeviceFacts

    @classmethod
    def here(cls, edition: str | None = None, *, store: EngineStore | None = None) -> Machine:
        """Return this machine; opened once per process and edition.

        Before TensorRT makes its first runtime here, a child tries it: two releases end the
        process where a driver is missing or does not fit. What was found out is kept beside
        the engines.

        Args:
            edition: Of TensorRT; None takes the first that is installed.
            store: Where that is kept.

        Raises:
            MissingDependencyError: TensorRT, or a way to CUDA, is not installed.
            RuntimeUnavailableError: There is no GPU, or TensorRT does not start on it.
        """
        machine = _open(edition)
        _try_out(machine.facts, edition, (store or EngineStore()).root)
        return machine


@lru_cache(maxsize=1)
def device_count() -> int:
    """Return how many GPUs CUDA can use here; 0 where CUDA itself is not here.

    Asked once per process: where CUDA is not here, each look goes through every library path.
    """
    try:
        return open_cuda().device_count()
    except (RuntimeUnavailableError, CudaError, ImportError):
        return 0


@lru_cache(maxsize=4)
def _open(edition: str | None, device: int = 0) -> Machine:
    api, cuda = open_api(edition), open_cuda()
    if not cuda.device_count():
        raise RuntimeUnavailableError(
            f"TensorRT {api.release} is installed, but there is no NVIDIA GPU that CUDA can use "
            "here; edgekit doctor says what it finds"
        )
    properties = cuda.properties(device)
    facts = DeviceFacts(
        gpu=properties.name,
        sm=".".join(map(str, properties.compute)),
        tensorrt=str(api.release),
        cuda=".".join(map(str, cuda.runtime_version())),
        power_mode=read_power().mode,
    )
    return Machine(api, cuda, device, properties, facts)


def _try_out(facts: DeviceFacts, edition: str | None, root: Path) -> None:
    """Let a child make a runtime, once for this device, release and CUDA."""
    marker = root / "probed" / f"{facts.digest}.ok"
    if marker.exists():
        return
    run_child(("-m", _PROBE, edition or ""), limits=Limits(timeout_s=_PROBE_S))
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError:  # a read-only system: the next process tries again
        return
