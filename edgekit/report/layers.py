"""What each layer costs and saves as integers, as a manifest keeps it: read, and as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.bundle import Contract
from edgekit.report import words
from edgekit.report.axis import is_drawable
from edgekit.report.bars import bar
from edgekit.report.promise import in_unit
from edgekit.report.svg import Svg

MOST_LAYERS = 20
MOST_RUNTIMES = 4
_MOST_DB = 600


@dataclass(frozen=True)
class LayerCost:
    """One layer that alone is integers, the rest in float.

    Args:
        order: Its place among those that would go back to float: 1 is the first.
        layer: Its name.
        operator: Its kind.
        sqnr_db: Signal-to-quantization-noise ratio at the model's outputs.
        lost: What the metric loses, in its own unit, > 0 is worse; None: not measured.
        work_share: Its part of the model's work, 0 to 1; None unknown.
        saved_us: Microseconds of a call that integers save here, by runtime; below 0 they are
            slower. Empty: not measured.
    """

    order: int
    layer: str
    operator: str
    sqnr_db: float
    lost: float | None
    work_share: float | None
    saved_us: Mapping[str, float]

    @property
    def error(self) -> float:
        """Root mean square of the error at the outputs, as a share of the signal's."""
        return float(10 ** (-self.sqnr_db / 20))


def read_layers(sensitivity: Sequence[Mapping[str, Any]]) -> tuple[LayerCost, ...]:
    """Return the layers of a manifest, the most worthwhile to keep in float first.

    Args:
        sensitivity: As a contract keeps it, so that anything may be in it; an entry without a
            ratio that can be drawn is left out. Older bundles know neither losses nor times.
    """
    found = []
    for order, item in enumerate(sensitivity, 1):
        ratio_db = _number(item.get("output_sqnr_db"))
        if ratio_db is None or abs(ratio_db) > _MOST_DB:
            continue
        saved = item.get("saved_us")
        times = saved.items() if isinstance(saved, dict) else ()
        known = ((str(name), _number(value)) for name, value in times)
        found.append(
            LayerCost(
                order=order,
                layer=str(item.get("layer", "?")),
                operator=str(item.get("operator", "")),
                sqnr_db=ratio_db,
                lost=_number(item.get("lost")),
                work_share=_number(item.get("work_share")),
                saved_us={name: time for name, time in known if time is not None},
            )
        )
    return tuple(found)


def runtimes_of(layers: Sequence[LayerCost]) -> tuple[str, ...]:
    """Return the runtimes that times are known of, in the order they come; the first few."""
    return tuple(dict.fromkeys(name for item in layers for name in item.saved_us))[:MOST_RUNTIMES]


@dataclass(frozen=True)
class LayerRow:
    """A layer as text; ``lost`` and ``saved`` are empty where nothing was measured."""

    order: int
    layer: str
    operator: str
    error: str
    error_bar: Svg
    sqnr: str
    lost: str
    lost_bar: Svg | None
    saved: tuple[str, ...]
    work: str


@dataclass(frozen=True)
class LayerTable:
    """The layers that would go back to float first.

    Args:
        rows: They.
        runtimes: Titles of what stands in ``LayerRow.saved``.
        has_losses: Whether any row has a loss of the metric.
    """

    rows: tuple[LayerRow, ...]
    runtimes: tuple[str, ...]
    has_losses: bool


def layer_table(contract: Contract | None) -> LayerTable:
    """Return the first ``MOST_LAYERS``, with bars in proportion to their errors and losses."""
    layers = () if contract is None else read_layers(contract.sensitivity)[:MOST_LAYERS]
    if contract is None or not layers:
        return LayerTable((), (), has_losses=False)
    runtimes = runtimes_of(layers)
    error = max(item.error for item in layers)
    lost = max(item.lost or 0.0 for item in layers)
    return LayerTable(
        rows=tuple(
            LayerRow(
                order=item.order,
                layer=item.layer,
                operator=item.operator,
                error=words.share(item.error),
                error_bar=bar(
                    item.error, error, title=f"{item.layer}: error {words.share(item.error)}"
                ),
                sqnr=f"{item.sqnr_db:.1f}",
                lost=_lost(contract, item),
                lost_bar=_lost_bar(contract, item, lost),
                saved=tuple(_microseconds(item.saved_us.get(name)) for name in runtimes),
                work="" if item.work_share is None else words.share(item.work_share),
            )
            for item in layers
        ),
        runtimes=runtimes,
        has_losses=any(item.lost is not None for item in layers),
    )


def _lost(contract: Contract, item: LayerCost) -> str:
    """Return the metric's loss in the promise's unit."""
    if item.lost is None or (contract.is_relative and contract.baseline == 0):
        return ""
    unit = abs(contract.baseline) if contract.is_relative else 1.0
    return in_unit(contract, item.lost / unit)


def _lost_bar(contract: Contract, item: LayerCost, largest: float) -> Svg | None:
    if item.lost is None or largest <= 0:
        return None
    title = f"{item.layer}: {_lost(contract, item)} lost"
    return bar(max(0.0, item.lost), largest, title=title, kind="lost")


def _microseconds(value: float | None) -> str:
    return "" if value is None else words.number(round(value, 1) + 0.0)


def _number(value: object) -> float | None:
    """Return a JSON value as a number that can be drawn; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if is_drawable(float(value)) else None
    except OverflowError:
        return None
