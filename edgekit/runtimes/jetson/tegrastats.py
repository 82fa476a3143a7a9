"""NVIDIA's ``tegrastats``: one line of figures per interval, read while something runs.

Its lines differ between JetPack 4 and 7; what a line does not hold is None or empty.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

PROGRAM = "tegrastats"
INTERVAL_MS = 500
_KEPT = 7200
"""Samples at most: an hour of them."""

_RAM = re.compile(r"\bRAM (\d+)/(\d+)MB")
_SWAP = re.compile(r"\bSWAP (\d+)/(\d+)MB")
_GPU = re.compile(r"\bGR3D_FREQ (\d+)%(?:@\[?(\d+))?")
_TEMPERATURE = re.compile(r"\b([A-Za-z][\w-]*)@(-?\d+(?:\.\d+)?)C\b")
_RAIL = re.compile(r"\b(V[A-Z0-9_]+|POM_[A-Z0-9_]+) (\d+)(?:mW)?/(\d+)(?:mW)?")
_ABSENT_C = -200.0
"""What the driver says of a sensor that is off is -256."""


@dataclass(frozen=True)
class TegraSample:
    """One line.

    Args:
        ram_mb: Memory in use by CPU and GPU together.
        ram_total_mb: All there is.
        swap_mb: Swap in use.
        gpu_percent: Load of the GPU.
        gpu_mhz: Its clock.
        temperatures_c: By sensor.
        rails_mw: Power drawn now, by rail.
    """

    ram_mb: int | None = None
    ram_total_mb: int | None = None
    swap_mb: int | None = None
    gpu_percent: int | None = None
    gpu_mhz: int | None = None
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    rails_mw: Mapping[str, int] = field(default_factory=dict)


def parse_line(line: str) -> TegraSample | None:
    """Return the figures of a line, or None where it has none."""
    ram, swap, gpu = _RAM.search(line), _SWAP.search(line), _GPU.search(line)
    heat = {
        name: float(value)
        for name, value in _TEMPERATURE.findall(line)
        if float(value) > _ABSENT_C and name != "PMIC"  # a constant 100 on Nano and TX2
    }
    rails = {name: int(now) for name, now, _ in _RAIL.findall(line)}
    if ram is None and gpu is None and not heat and not rails:
        return None
    return TegraSample(
        ram_mb=int(ram[1]) if ram else None,
        ram_total_mb=int(ram[2]) if ram else None,
        swap_mb=int(swap[1]) if swap else None,
        gpu_percent=int(gpu[1]) if gpu else None,
        gpu_mhz=int(gpu[2]) if gpu and gpu[2] else None,
        temperatures_c=heat,
        rails_mw=rails,
    )


@dataclass(frozen=True)
class TegraSummary:
    """Many lines in one.

    Args:
        samples: How many.
        ram_peak_mb: The most memory in use.
        ram_total_mb: All there is.
        swap_peak_mb: The most swap in use.
        gpu_percent: Mean load.
        gpu_mhz: Lowest and highest clock; a low one under load means throttling.
        temperature_c: The hottest sensor: its name and its highest value.
        rails_mw: Mean power by rail.
    """

    samples: int
    ram_peak_mb: int | None
    ram_total_mb: int | None
    swap_peak_mb: int | None
    gpu_percent: float | None
    gpu_mhz: tuple[int, int] | None
    temperature_c: tuple[str, float] | None
    rails_mw: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "samples": self.samples,
            "ram_peak_mb": self.ram_peak_mb,
            "ram_total_mb": self.ram_total_mb,
            "swap_peak_mb": self.swap_peak_mb,
            "gpu_percent": self.gpu_percent,
            "gpu_mhz": None if self.gpu_mhz is None else list(self.gpu_mhz),
            "temperature_c": None if self.temperature_c is None else list(self.temperature_c),
            "rails_mw": dict(self.rails_mw),
        }


def summarise(samples: Sequence[TegraSample]) -> TegraSummary | None:
    """Return the summary, or None of nothing."""
    if not samples:
        return None
    clocks = [item.gpu_mhz for item in samples if item.gpu_mhz is not None]
    loads = [item.gpu_percent for item in samples if item.gpu_percent is not None]
    heat = [(value, name) for item in samples for name, value in item.temperatures_c.items()]
    rails = dict.fromkeys(name for item in samples for name in item.rails_mw)
    hottest = max(heat, default=None)
    return TegraSummary(
        samples=len(samples),
        ram_peak_mb=max((item.ram_mb for item in samples if item.ram_mb is not None), default=None),
        ram_total_mb=samples[-1].ram_total_mb,
        swap_peak_mb=max(
            (item.swap_mb for item in samples if item.swap_mb is not None), default=None
        ),
        gpu_percent=mean(loads) if loads else None,
        gpu_mhz=(min(clocks), max(clocks)) if clocks else None,
        temperature_c=None if hottest is None else (hottest[1], hottest[0]),
        rails_mw={
            name: mean(item.rails_mw[name] for item in samples if name in item.rails_mw)
            for name in rails
        },
    )


class Recorder:
    """Collects samples until it is left.

    Attributes:
        samples: So far.
    """

    def __init__(self) -> None:
        self.samples: list[TegraSample] = []

    def summary(self) -> TegraSummary | None:
        """Return what was seen so far."""
        return summarise(tuple(self.samples))


@contextmanager
def recording(program: str | None = None, *, interval_ms: int = INTERVAL_MS) -> Iterator[Recorder]:
    """Record while the block runs; records nothing where there is no ``tegrastats``.

    Args:
        program: Its path; None looks for it.
        interval_ms: Between two lines.
    """
    recorder = Recorder()
    path = program or shutil.which(PROGRAM)
    if path is None:
        yield recorder
        return
    child = subprocess.Popen(
        [path, "--interval", str(interval_ms)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="replace",
    )
    reader = threading.Thread(target=_read, args=(child, recorder), daemon=True)
    reader.start()
    try:
        yield recorder
    finally:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(2)
        if child.poll() is None:
            child.kill()
            child.wait()
        reader.join(2)


def _read(child: subprocess.Popen[str], recorder: Recorder) -> None:
    assert child.stdout is not None  # it was asked for
    with child.stdout:
        for line in child.stdout:
            sample = parse_line(line)
            if sample is not None and len(recorder.samples) < _KEPT:
                recorder.samples.append(sample)
