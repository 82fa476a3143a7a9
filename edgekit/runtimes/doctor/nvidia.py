"""NVIDIA's driver, GPUs, Jetson boards and TensorRT, all read without importing anything."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgekit.runtimes.doctor.system import Host
from edgekit.runtimes.text_files import read_text

SMI_TIMEOUT_S = 10
SMI_QUERY = (
    "--query-gpu=name,driver_version,memory.total,compute_cap",
    "--format=csv,noheader,nounits",
)


@dataclass(frozen=True)
class Gpu:
    """One line of ``nvidia-smi``.

    Args:
        name: As NVIDIA calls it.
        driver: Version of the driver.
        memory_mib: Its memory; None where it is the machine's own, as on a Jetson.
        compute: Compute capability, such as ``"8.7"``; None where the driver is too old.
    """

    name: str
    driver: str
    memory_mib: int | None
    compute: str | None


@dataclass(frozen=True)
class JetPack:
    """What a release of JetPack brings.

    Source: NVIDIA's JetPack release pages and the version tables of jetson-containers.
    """

    version: str
    cuda: str
    tensorrt: str
    python: tuple[int, int]


JETPACKS: tuple[tuple[tuple[int, int], JetPack], ...] = (
    ((32, 6), JetPack("4.6", "10.2", "8.0", (3, 6))),
    ((32, 7), JetPack("4.6", "10.2", "8.2", (3, 6))),
    ((35, 2), JetPack("5.1", "11.4", "8.5", (3, 8))),
    ((36, 3), JetPack("6.0", "12.2", "8.6", (3, 10))),
    ((36, 4), JetPack("6.1 or 6.2", "12.6", "10.3", (3, 10))),
    ((38, 2), JetPack("7.0", "13.0", "10.13", (3, 12))),
    ((38, 4), JetPack("7.1", "13.0", "10.13", (3, 12))),
    ((39, 0), JetPack("7.2", "13.2", "10.16", (3, 12))),
)
"""First Linux for Tegra release of each, ascending; a later one of the same major is alike."""


@dataclass(frozen=True)
class Jetson:
    """A Jetson board.

    Args:
        model: As the device tree names it.
        l4t: Release of Linux for Tegra, such as ``"36.4.3"``; empty where unknown.
        jetpack: The JetPack that this release belongs to; None where it is not in the table.
    """

    model: str
    l4t: str
    jetpack: JetPack | None


@dataclass(frozen=True)
class Bindings:
    """TensorRT's Python module, outside of any virtual environment.

    Args:
        path: Its folder.
        version: As its metadata's file name says; empty where there is none.
        python: Version of the interpreter that its folder belongs to; None for all of 3.
    """

    path: str
    version: str
    python: tuple[int, int] | None


def read_driver(root: Path) -> str | None:
    """Return the version of the loaded kernel driver."""
    return parse_driver(read_text(root / "proc/driver/nvidia/version"))


def parse_driver(text: str) -> str | None:
    """Return the version that ``/proc/driver/nvidia/version`` gives."""
    found = re.search(r"Kernel Module(?:\s+for\s+\S+)?\s+(\d+(?:\.\d+)+)", text)
    return found[1] if found else None


def read_gpus(host: Host) -> tuple[Gpu, ...]:
    """Return what ``nvidia-smi`` lists; nothing where it is missing or fails."""
    program = shutil.which("nvidia-smi")
    if program is None or host.root != Path("/"):
        return ()
    try:
        done = subprocess.run(
            [program, *SMI_QUERY], capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_smi(done.stdout)


def parse_smi(text: str) -> tuple[Gpu, ...]:
    """Return the GPUs of ``nvidia-smi``'s answer to ``SMI_QUERY``."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines())]
    return tuple(
        Gpu(
            name=row[0],
            driver=row[1],
            memory_mib=int(row[2]) if row[2].isdigit() else None,
            compute=row[3] if re.fullmatch(r"\d+\.\d+", row[3]) else None,
        )
        for row in rows
        if len(row) == 4
    )


def read_jetson(root: Path) -> Jetson | None:
    """Return the board, or None on another machine."""
    l4t = parse_tegra_release(read_text(root / "etc/nv_tegra_release"))
    # The device tree ends its texts with a NUL.
    model = read_text(root / "proc/device-tree/model").rstrip("\0\n ")
    if not l4t and "jetson" not in model.lower():
        return None
    return Jetson(model=model or "NVIDIA Jetson", l4t=l4t, jetpack=jetpack_of(l4t))


def parse_tegra_release(text: str) -> str:
    """Return the release in ``# R36 (release), REVISION: 4.3, ...``, here ``"36.4.3"``."""
    found = re.search(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", text)
    return f"{found[1]}.{found[2]}" if found else ""


def jetpack_of(l4t: str) -> JetPack | None:
    """Return the JetPack that a release of Linux for Tegra belongs to."""
    numbers = tuple(int(part) for part in l4t.split(".")[:2] if part.isdigit())
    best = None
    for first, jetpack in JETPACKS:
        if numbers[:1] == first[:1] and numbers >= first:
            best = jetpack
    return best


def find_bindings(root: Path) -> tuple[Bindings, ...]:
    """Return the TensorRT modules that system packages have installed."""
    found = []
    for folder in sorted(root.glob("usr/lib/python3*/dist-packages")) + sorted(
        root.glob("usr/local/lib/python3*/dist-packages")
    ):
        if not (folder / "tensorrt" / "__init__.py").is_file():
            continue
        names = [path.name for path in sorted(folder.glob("tensorrt-*-info"))]
        version = re.match(r"tensorrt-([\d.]+\d)", names[0]) if names else None
        python = re.fullmatch(r"python(\d+)\.(\d+)", folder.parent.name)
        found.append(
            Bindings(
                path=str(folder / "tensorrt"),
                version=version[1] if version else "",
                python=(int(python[1]), int(python[2])) if python else None,
            )
        )
    return tuple(found)


def find_cuda(root: Path) -> tuple[str, ...]:
    """Return the CUDA runtime libraries that the linker, toolkits and JetPack have."""
    patterns = (
        "usr/lib/*-linux-gnu/libcudart.so.*",
        "usr/local/cuda*/lib64/libcudart.so.*",
        "usr/local/cuda*/targets/*/lib/libcudart.so.*",
    )
    found: dict[Path, str] = {}
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            if re.fullmatch(r"libcudart\.so\.\d+(\.\d+)*", path.name):
                found.setdefault(path.resolve(), str(path))
    return tuple(found.values())


def find_trtexec(root: Path) -> str:
    """Return where NVIDIA's own benchmark is; it is on no path before TensorRT 10.15."""
    for name in ("usr/src/tensorrt/bin/trtexec", "usr/bin/trtexec"):
        if (root / name).is_file():
            return str(root / name)
    return ""
