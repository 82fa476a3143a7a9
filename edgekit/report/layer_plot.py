"""What each layer costs and saves, as one SVG file that needs nothing else."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgekit.report import words
from edgekit.report.bars import bar
from edgekit.report.layers import LayerCost, runtimes_of
from edgekit.report.svg import Svg, element, label, shortened
from edgekit.report.svg import words as escaped

_NAME, _BAR, _TIME = 316, 210, 116  # widths in pixels
_NUMBER = 80  # of a bar, for what stands on its right
_MARGIN, _GAP, _LEAST = 16, 24, 640
_ROW, _LINE, _HEAD = 26, 18, 28  # heights
_LETTER = 6.8  # of 13 px, as wide as they are on average
_LETTERS = 28  # of a name, in its place

# The colours of page.css.
_STYLE = """
svg { --paper: #fff; --ink: #1b1f24; --soft: #565e68; --main: #1f5fbf; --faint: #dbe6f7; --bad: #a51d24; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #14171b; --ink: #e8eaed; --soft: #a8b0ba; --main: #7db0ff; --faint: #24344d; --bad: #ff9a9e; }
}
text { fill: var(--ink); font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
text.head { font-size: 17px; font-weight: 600; }
.soft { fill: var(--soft); }
.paper { fill: var(--paper); }
.track { fill: var(--faint); }
.fill { fill: var(--main); }
.fill.lost { fill: var(--bad); }
"""  # noqa: E501


def layer_plot(layers: Sequence[LayerCost], *, title: str, metric: str, on: str) -> str:
    """Return the chart: a row a layer, with bars of its error and of the metric's loss.

    Args:
        layers: At least one; the most worthwhile to keep in float first.
        title: What they are layers of.
        metric: Whose loss it is, in its own unit.
        on: What was measured on, in words; empty unknown.
    """
    places = _Places.of(layers)
    about = "the first to go back to float is on top"
    about += "; µs: what integers save of a call" if places.runtimes else ""
    about += f"; {shortened(on, 300)}" if on else ""
    lines = textwrap.wrap(about, int((places.width - 2 * _MARGIN) / _LETTER))
    top = _HEAD + _LINE * (len(lines) + 2)
    height = top + _ROW * len(layers) + _MARGIN
    chart = element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "role": "img",
            "aria-label": f"{title}: what each layer costs in integers",
            "width": places.width,
            "height": height,
            "viewBox": f"0 0 {places.width} {height}",
        },
        Svg(f"<style>{_STYLE}</style>"),
        element("rect", {"class": "paper", "width": "100%", "height": "100%"}),
        _text(f"{shortened(title, 36)}: what layers cost in integers", _MARGIN, _HEAD, "head"),
        *(_text(text, _MARGIN, _HEAD + _LINE * n, "soft") for n, text in enumerate(lines, 1)),
        *_heads(places, metric, top - 10),
        *(part for n, item in enumerate(layers) for part in _row(item, places, top + _ROW * n)),
    )
    return f"{chart.text}\n"


@dataclass(frozen=True)
class _Places:
    """Where the columns stand, in pixels from the left, and what fills them."""

    error: float
    lost: float
    has_losses: bool
    runtimes: tuple[str, ...]

    @classmethod
    def of(cls, layers: Sequence[LayerCost]) -> _Places:
        return cls(
            error=max(item.error for item in layers),
            lost=max(item.lost or 0.0 for item in layers),
            has_losses=any(item.lost is not None for item in layers),
            runtimes=runtimes_of(layers),
        )

    @property
    def lost_x(self) -> int:
        return _NAME + _BAR + _GAP

    @property
    def time_x(self) -> int:
        return self.lost_x + (_BAR + _GAP) * self.has_losses - _GAP

    @property
    def width(self) -> int:
        return max(_LEAST, self.time_x + _TIME * len(self.runtimes) + _MARGIN)


def _heads(places: _Places, metric: str, y: int) -> Iterator[Svg]:
    yield _text("error at the outputs", _NAME, y, "soft")
    if places.has_losses:
        yield _text(f"lost: {shortened(metric, 22)}", places.lost_x, y, "soft")
    for number, name in enumerate(places.runtimes, 1):
        head = f"µs {shortened(name, 11)}"
        yield _text(head, places.time_x + _TIME * number, y, "soft", anchor="end")


def _row(item: LayerCost, places: _Places, top: int) -> Iterator[Svg]:
    y = top + 12
    yield _text(str(item.order), _MARGIN + 24, y, "soft", anchor="end")
    yield element(
        "text",
        {"x": _MARGIN + 34, "y": y},
        element("title", {}, escaped(f"{shortened(item.layer, 200)} ({item.operator[:40]})")),
        element("tspan", {}, escaped(shortened(item.layer, _LETTERS))),
        element("tspan", {"class": "soft", "dx": 8}, escaped(shortened(item.operator, 10))),
    )
    yield from _bar(item.error, places.error, words.share(item.error), _NAME, top)
    if item.lost is not None:
        yield from _bar(
            item.lost, places.lost, _three_digits(item.lost), places.lost_x, top, kind="lost"
        )
    for number, name in enumerate(places.runtimes, 1):
        if name in item.saved_us:
            text = words.number(round(item.saved_us[name], 1) + 0.0)
            yield _text(text, places.time_x + _TIME * number, y, anchor="end")


def _bar(
    value: float, largest: float, text: str, x: int, top: int, *, kind: str = ""
) -> tuple[Svg, Svg]:
    """Return a bar with its number on the right of it; what is below 0 has no length."""
    width = _BAR - _NUMBER
    place = {"x": x, "y": top + 2, "width": width, "height": 12}
    return (
        element("svg", place, bar(max(0.0, value), largest, title=text, kind=kind)),
        _text(text, x + _BAR, top + 12, anchor="end"),
    )


def _text(text: str, x: int, y: int, kind: str = "", *, anchor: str = "start") -> Svg:
    return label(text, {"class": kind, "x": x, "y": y, "text-anchor": anchor})


def _three_digits(value: float) -> str:
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
