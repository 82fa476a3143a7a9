"""Under what conditions something was measured on a board."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.runtimes.doctor.nvidia import Jetson, read_jetson
from edgekit.runtimes.jetson.power import PowerState, read_power
from edgekit.runtimes.jetson.tegrastats import TegraSummary, recording


@dataclass
class Conditions:
    """What stands beside every figure of a board.

    Args:
        board: The board; None on another machine, and then all else is None.
        power: When the block began.
        load: Over the whole block; None until it ends.
    """

    board: Jetson | None = None
    power: PowerState | None = None
    load: TegraSummary | None = None

    def to_json(self) -> dict[str, Any] | None:
        """Return a JSON-ready dict; None where this is no board."""
        if self.board is None:
            return None
        return {
            "board": self.board.model,
            "l4t": self.board.l4t,
            "power": None if self.power is None else self.power.to_json(),
            "load": None if self.load is None else self.load.to_json(),
        }

    def lines(self) -> tuple[str, ...]:
        """Return them in words; nothing where this is no board."""
        if self.board is None or self.power is None:
            return ()
        mode = self.power.mode or "unknown"
        held = {True: "held", False: "free", None: "unknown"}[self.power.are_clocks_held]
        lines = [f"{self.board.model}, L4T {self.board.l4t}, power mode {mode}, clocks {held}"]
        if self.power.are_clocks_held is False:
            lines.append("the clocks move with the load: run sudo jetson_clocks for steady figures")
        return (*lines, *_load_lines(self.load))


@contextmanager
def under_conditions(root: Path = Path("/")) -> Iterator[Conditions]:
    """Note the conditions while the block runs; costs nothing where this is no board."""
    board = read_jetson(root)
    if board is None:
        yield Conditions()
        return
    conditions = Conditions(board, read_power(root))
    with recording() as recorder:
        yield conditions
    conditions.load = recorder.summary()


def _load_lines(load: TegraSummary | None) -> list[str]:
    if load is None:
        return []
    parts = []
    if load.ram_peak_mb is not None:
        parts.append(f"memory up to {load.ram_peak_mb} of {load.ram_total_mb} MB")
    if load.gpu_percent is not None:
        parts.append(f"GPU {load.gpu_percent:.0f}% busy")
    if load.gpu_mhz is not None:
        low, high = load.gpu_mhz
        parts.append(f"at {low} MHz" if low == high else f"at {low} to {high} MHz")
    if load.temperature_c is not None:
        name, value = load.temperature_c
        parts.append(f"{name} up to {value:.0f} C")
    parts += [f"{name} {value / 1000:.1f} W" for name, value in load.rails_mw.items()]
    return [", ".join(parts)] if parts else []
