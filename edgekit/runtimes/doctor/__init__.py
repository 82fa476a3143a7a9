"""Facts about this machine: what can run here, and what to install where it cannot.

Nothing that it reports on is imported: packages are read from their metadata, the hardware
from ``/proc`` and ``/etc`` as text. Every parser takes text, and every finder a root folder.

To add a fact: a field in the part that it belongs to, a parser with a recorded text in
``tests/test_doctor.py``, and, where a user can act on it, a line in ``advice.py``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgekit._version import __version__
from edgekit.runtimes.doctor.advice import advise
from edgekit.runtimes.doctor.cpu import Cpu, read_cpu
from edgekit.runtimes.doctor.nvidia import (
    Bindings,
    Gpu,
    Jetson,
    find_bindings,
    find_cuda,
    find_trtexec,
    read_driver,
    read_gpus,
    read_jetson,
)
from edgekit.runtimes.doctor.packages import Package, Runtime, find_packages, read_runtimes
from edgekit.runtimes.doctor.system import Host, Memory, read_memory, read_os, read_swap
from edgekit.runtimes.jetson.power import PowerState, read_power

__all__ = [
    "Bindings",
    "Cpu",
    "Gpu",
    "Host",
    "Jetson",
    "Memory",
    "Package",
    "Report",
    "Runtime",
    "gather",
]

OPENCV = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
TENSORRT = ("tensorrt", "tensorrt-cu11", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx")


@dataclass(frozen=True)
class Report:
    """What ``edgekit doctor`` tells.

    Args:
        edgekit: Version of EdgeKit.
        os: Name and version of the operating system.
        host: The interpreter and the C library.
        cpu: Processor and its instructions for inference.
        memory: In bytes; None where the system does not tell.
        runtimes: Every runtime of the table, installed or not.
        opencv: Installed OpenCV packages.
        tensorrt: Installed TensorRT packages of this interpreter.
        bindings: TensorRT modules in the system's own folders, for any interpreter.
        driver: Version of NVIDIA's kernel driver.
        gpus: As ``nvidia-smi`` lists them.
        jetson: The board, if it is one.
        power: Its power mode and clocks; None on another machine.
        swap: Swap space in bytes; None where the system does not tell.
        cuda: CUDA runtime libraries of the system.
        trtexec: Path of NVIDIA's own benchmark, or ``""``.
        advice: What to do, one sentence each; empty where all is well.
    """

    edgekit: str
    os: str
    host: Host
    cpu: Cpu
    memory: Memory | None
    runtimes: tuple[Runtime, ...]
    opencv: tuple[Package, ...]
    tensorrt: tuple[Package, ...]
    bindings: tuple[Bindings, ...]
    driver: str | None
    gpus: tuple[Gpu, ...]
    jetson: Jetson | None
    power: PowerState | None = None
    swap: int | None = None
    cuda: tuple[str, ...] = ()
    trtexec: str = ""
    advice: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        data = asdict(self)
        del data["host"]["root"], data["host"]["search_path"]
        return data


def gather(host: Host | None = None) -> Report:
    """Collect the facts; takes some milliseconds, plus ``nvidia-smi`` where it is.

    Args:
        host: Another machine than this one, for tests.
    """
    here = host or Host.here()
    jetson = read_jetson(here.root)
    facts = Report(
        edgekit=__version__,
        os=read_os(here.root),
        host=here,
        cpu=read_cpu(here.root, here.machine),
        memory=read_memory(here.root),
        runtimes=read_runtimes(here),
        opencv=find_packages(OPENCV, here),
        tensorrt=find_packages(TENSORRT, here),
        bindings=find_bindings(here.root),
        driver=read_driver(here.root),
        gpus=read_gpus(here),
        jetson=jetson,
        power=None if jetson is None else read_power(here.root),
        swap=read_swap(here.root),
        cuda=find_cuda(here.root),
        trtexec=find_trtexec(here.root),
    )
    return Report(**{**vars(facts), "advice": advise(facts)})
