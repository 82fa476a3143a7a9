"""A simulated CUDA: ``native/fake_cudart.c`` under the real ctypes provider. No GPU is involved.

``simulated_cuda`` compiles it once per session of tests; the memory is the host's, so that
addresses can be looked into.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from edgekit.runtimes.cuda.cudart import CudartCuda

SOURCE = Path(__file__).parent / "native" / "fake_cudart.c"
KINDS = ("memory", "host", "stream", "event", "graph", "exec")


class SimulatedCuda(CudartCuda):
    """The ctypes provider on the simulation, with a view into it."""

    def alive(self) -> dict[str, int]:
        """Return what was allocated since the provider was made and is not freed, by kind."""
        return {kind: count - self._before[kind] for kind, count in self._count().items()}

    def _count(self) -> dict[str, int]:
        return {kind: self._library.fakeAlive(index) for index, kind in enumerate(KINDS)}

    def be(self, *, devices: int = 1, is_integrated: bool = False) -> None:
        """Be another machine."""
        self._library.fakeMachine(devices, int(is_integrated))

    def have_driver(self, major: int, minor: int) -> None:
        """Have another driver, by the newest CUDA that it supports."""
        self._library.fakeDriver(1000 * major + 10 * minor)

    def last_error(self) -> int:
        """Return the error that CUDA still keeps for whoever asks next."""
        return int(self._library.cudaGetLastError())

    def launch(self, stream: int, call: Callable[[], None]) -> None:
        """Put a call on a stream, as a kernel is; it is recorded where the stream is captured."""
        kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: call())
        self._kernels.append(kernel)  # a graph calls it again, long after
        self._library.fakeLaunch.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        self._library.fakeLaunch(stream, ctypes.cast(kernel, ctypes.c_void_p), None)

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(path)
        self._kernels: list[object] = []
        gc.collect()  # what an earlier test has let go is not to be freed in this one
        self._before = self._count()


@lru_cache(maxsize=1)
def _library() -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here to build the simulated CUDA with")
    folder = tempfile.mkdtemp(prefix="edgekit-simulated-cuda-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "libcudart-simulated.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(path), str(SOURCE)], check=True, timeout=120
    )
    return path


def simulated_cuda() -> SimulatedCuda:
    """Return a fresh provider on the simulation, a machine with one GPU."""
    cuda = SimulatedCuda(_library())
    cuda.be()
    cuda.have_driver(12, 6)
    return cuda
