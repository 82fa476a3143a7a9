"""Layers and what they cost in integers, as a table that fits the terminal."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.cli.console import Table

if TYPE_CHECKING:
    from edgekit.report.layers import LayerCost

_BAR, _OPERATOR, _LEAST = 6, 9, 12  # letters of the bar, of an operator, least of a name


def layer_table(costs: Sequence[LayerCost], *, title: str) -> Table:
    """Return the layers as a table that is as wide as the terminal, at least one of them."""
    from edgekit.report.layers import runtimes_of
    from edgekit.report.svg import printable, shortened

    runtimes = runtimes_of(costs)
    error = max(item.error for item in costs)
    has_losses = any(item.lost is not None for item in costs)
    columns = [">", "operator", "", ">SQNR, dB"]
    cells = [
        [
            str(item.order),
            shortened(printable(item.operator), _OPERATOR),
            "#" * math.ceil(_BAR * (item.error / error)),
            f"{item.sqnr_db:.1f}",
        ]
        for item in costs
    ]
    if has_losses:
        columns.append(">lost")
        for row, item in zip(cells, costs, strict=True):
            row.append("" if item.lost is None else f"{item.lost:.3g}")
    if runtimes:
        columns.append(">\N{MICRO SIGN}s saved")
        times = [[_microseconds(item.saved_us.get(name)) for name in runtimes] for item in costs]
        widths = [max(map(len, column)) for column in zip(*times, strict=True)]
        for row, texts in zip(cells, times, strict=True):
            row.append(" / ".join(map(str.rjust, texts, widths)))
    taken = sum(
        2 + max(len(line[index]) for line in ([name.lstrip(">") for name in columns], *cells))
        for index, name in enumerate(columns)
    )
    room = max(_LEAST, shutil.get_terminal_size().columns - taken)
    columns.insert(1, "layer")
    for row, item in zip(cells, costs, strict=True):
        row.insert(1, shortened(printable(item.layer), room))
    return Table(columns, cells, title=title)


def _microseconds(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f}"
