"""Installed packages, read from their metadata, and what stops a runtime here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from edgekit.registry import Entry
from edgekit.runtimes import RUNTIMES
from edgekit.runtimes.doctor.system import Host
from edgekit.runtimes.usable import NEEDS_GPU

Version = tuple[int, int]

DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "onnxruntime": (
        "onnxruntime",
        "onnxruntime-gpu",
        "onnxruntime-openvino",
        "onnxruntime-directml",
        "onnxruntime-qnn",
    ),
    "openvino": ("openvino", "openvino-nightly"),
    "litert": ("ai-edge-litert", "tflite-runtime"),
}
"""Packages that carry each runtime, the one that EdgeKit installs first."""

REAL_FLOORS: dict[tuple[str, str], Version] = {
    ("ai-edge-litert", "aarch64"): (2, 34),
}
"""Least glibc where a wheel's own tag is too low, by package and machine.

ai-edge-litert 2.1.6, 2.2.0 and 2.3.0 are tagged manylinux_2_27 on aarch64, but their
libraries import GLIBC_2.34 and GLIBCXX_3.4.30 (read with ``readelf -V``); on glibc 2.31
(Ubuntu 20.04, JetPack 5) pip installs them and loading fails.
"""

OFFERED_FLOORS: dict[tuple[str, str], Version] = {
    ("ai-edge-litert", "x86_64"): (2, 27),
    ("ai-edge-litert", "aarch64"): (2, 34),
    ("openvino", "x86_64"): (2, 28),
    ("openvino", "aarch64"): (2, 35),
    ("onnxruntime", "x86_64"): (2, 28),
    ("onnxruntime", "aarch64"): (2, 28),
}
"""Least glibc of the wheels that pip would install now, by package and machine.

Of ai-edge-litert 2.3.0, openvino 2026.4.1 and onnxruntime 1.32.0.
"""

_LEGACY_TAGS = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}


@dataclass(frozen=True)
class Package:
    """One installed distribution.

    Args:
        name: As the package index spells it.
        version: Its version.
        glibc: Least glibc that its wheel needs; None where the wheel does not say.
    """

    name: str
    version: str
    glibc: Version | None = None


@dataclass(frozen=True)
class Runtime:
    """One line of the table ``RUNTIMES`` on this machine.

    Args:
        name: Its name in the table.
        summary: The table's line on it.
        is_installed: Whether its library is found; it is not imported.
        packages: Distributions that carry it.
        install: Command that installs it; empty where it is installed or cannot be.
        problems: What will stop it, one sentence each.
    """

    name: str
    summary: str
    is_installed: bool
    packages: tuple[Package, ...]
    install: str = ""
    problems: tuple[str, ...] = ()


def read_runtimes(host: Host) -> tuple[Runtime, ...]:
    """Return every runtime of the table that runs on a CPU; the GPU's is in ``nvidia.py``."""
    return tuple(
        read_runtime(name, entry, host) for name, entry in RUNTIMES.items() if name not in NEEDS_GPU
    )


def read_runtime(name: str, entry: Entry, host: Host) -> Runtime:
    """Return whether a runtime is installed, and what stops it."""
    packages = find_packages(DISTRIBUTIONS.get(name, (name,)), host)
    # Debian's and conda's builds are importable without being a distribution.
    is_installed = bool(packages) or (host.root == Path("/") and not entry.missing())
    problems = _glibc_problems(packages, host) + _clashes(packages)
    problems += _numpy_problems(packages, host)
    install = ""
    if not is_installed:
        obstacle = why_not_offered(name, host)
        if obstacle:
            problems.append(obstacle)
        else:
            install = f"pip install 'edgekit[{entry.extra}]'"
    return Runtime(name, entry.summary, is_installed, packages, install, tuple(problems))


def find_packages(names: Iterable[str], host: Host) -> tuple[Package, ...]:
    """Return those of the distributions that are installed."""
    found = []
    for name in names:
        matches = metadata.distributions(name=name, path=list(host.search_path))
        distribution = next(iter(matches), None)
        if distribution is not None:
            tag_floor = parse_wheel_floor(distribution.read_text("WHEEL") or "")
            floor = REAL_FLOORS.get((name, host.machine), tag_floor)
            found.append(Package(name, distribution.version, floor))
    return tuple(found)


def parse_wheel_floor(wheel: str) -> Version | None:
    """Return the least glibc that a ``WHEEL`` file's tags ask for.

    Source: PEP 600 (``manylinux_2_28``) and its table of older names.
    """
    floors = []
    for platform in re.findall(r"^Tag: \S+?-\S+?-(\S+)$", wheel, re.MULTILINE):
        for tag in platform.split("."):
            exact = re.match(r"manylinux_(\d+)_(\d+)_", tag)
            if exact:
                floors.append((int(exact[1]), int(exact[2])))
            floors += [floor for name, floor in _LEGACY_TAGS.items() if tag.startswith(f"{name}_")]
    # Several tags mean that the wheel fits any of them.
    return min(floors, default=None)


def why_not_offered(name: str, host: Host) -> str:
    """Return why pip cannot install a runtime that would load here; empty where it can."""
    package = DISTRIBUTIONS.get(name, (name,))[0]
    if host.system != "Linux":
        return ""
    if host.glibc is None:
        return f"{package} has no wheel for a C library other than glibc (such as musl)"
    machines = [machine for known, machine in OFFERED_FLOORS if known == package]
    if machines and host.machine not in machines:
        hint = _TFLITE_HINT if name == "litert" and host.machine == "armv7l" else ""
        return f"{package} has no wheel for {host.machine}, only for {' and '.join(machines)}{hint}"
    floor = OFFERED_FLOORS.get((package, host.machine))
    return _too_old(package, floor, host) if floor and host.glibc < floor else ""


_TFLITE_HINT = (
    "; on Python 3.11 or older install the former library: "
    "pip install 'tflite-runtime==2.14.0' 'numpy<2'"
)


def _too_old(package: str, floor: Version, host: Host) -> str:
    have = ".".join(map(str, host.glibc or ()))
    need = ".".join(map(str, floor))
    return (
        f"{package} needs glibc {need} and this system has {have}, so it cannot be loaded even "
        "where pip installs it; use another runtime, or a newer system (JetPack 6, Ubuntu 22.04)"
    )


def _glibc_problems(packages: tuple[Package, ...], host: Host) -> list[str]:
    return [
        _too_old(f"{package.name} {package.version}", package.glibc, host)
        for package in packages
        if package.glibc and host.glibc and host.glibc < package.glibc
    ]


def _clashes(packages: tuple[Package, ...]) -> list[str]:
    names = [item.name for item in packages if item.name.startswith("onnxruntime")]
    if len(names) < 2:
        return []
    return [
        f"{' and '.join(names)} write the same folder; keep one: pip uninstall {' '.join(names)}, "
        f"then pip install {names[-1]}"
    ]


def _numpy_problems(packages: tuple[Package, ...], host: Host) -> list[str]:
    numpy = find_packages(("numpy",), host)
    is_old = any(package.name == "tflite-runtime" for package in packages)
    if not (is_old and numpy and int(numpy[0].version.split(".")[0]) >= 2):
        return []
    # Its import succeeds; making an interpreter raises "_ARRAY_API not found".
    return [f"tflite-runtime breaks with numpy {numpy[0].version}; run: pip install 'numpy<2'"]
