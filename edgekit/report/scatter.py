"""Points in a plane with the line of those that no other beats: accuracy against latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgekit.report.axis import Axis, axis_over
from edgekit.report.svg import Attributes, Svg, chart, element, label, percent, shortened

_HEIGHT = 320
_LEFT, _RIGHT = 0.15, 0.95  # shares of the width
_TOP, _BOTTOM = 40, 262  # pixels
_NEAR_X, _NEAR_Y = 0.05, 18  # closer than this, two numbers would overlap
# Half of a marker with its number, and a letter, as shares of the width of the narrowest phone.
_MARKER_X, _LETTER_X = 0.05, 6.5 / 288
_ENDS = tuple(_RIGHT - 0.01 * step for step in range(51))  # of such a name

# Around the origin of its own place, which is given in per cent.
_DISC = "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0 -12 0Z"


@dataclass(frozen=True)
class Point:
    """One thing that was measured.

    Args:
        number: That stands beside its marker and in the table.
        name: In words.
        x: The lower, the better.
        y: How good it is.
    """

    number: int
    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Level:
    """A line across the whole chart.

    Args:
        y: Where.
        name: In words.
        kind: CSS class.
    """

    y: float
    name: str
    kind: str = ""


@dataclass(frozen=True)
class Scatter:
    """What a scatter chart shows.

    Args:
        points: At least one; x is not negative.
        levels: Lines across.
        x_title: Of the horizontal axis, with its unit.
        y_title: Of the vertical axis.
        higher_is_better: Of y.
    """

    points: tuple[Point, ...]
    levels: tuple[Level, ...]
    x_title: str
    y_title: str
    higher_is_better: bool = True


def unbeaten(points: Sequence[Point], *, higher_is_better: bool) -> tuple[Point, ...]:
    """Return the points that no other beats in both, from left to right."""
    sign = -1.0 if higher_is_better else 1.0
    kept: list[Point] = []
    for point in sorted(points, key=lambda item: (item.x, sign * item.y)):
        if not kept or sign * point.y < sign * kept[-1].y:
            kept.append(point)
    return tuple(kept)


def scatter(ident: str, shown: Scatter, *, title: str) -> Svg:
    """Return the chart; ``ident`` is unique on the page."""
    x = axis_over([point.x for point in shown.points], from_zero=True)
    values = [point.y for point in shown.points] + [level.y for level in shown.levels]
    y = axis_over(values)
    front = unbeaten(shown.points, higher_is_better=shown.higher_is_better)
    told = "; ".join(
        f"{point.number}, {point.name}: {point.x:.4g}, {point.y:.5g}" for point in shown.points
    )
    return chart(
        ident,
        *_grid(x, y),
        label(shortened(shown.y_title, 40), {"x": "0", "y": 16, "class": "title"}),
        label(
            shown.x_title,
            {"x": percent(_RIGHT), "y": _HEIGHT - 12, "class": "title", "text-anchor": "end"},
        ),
        *_levels(shown, x, y),
        *_steps([(_across(x, point.x), _down(y, point.y)) for point in front]),
        *(_marker(point, x, y) for point in shown.points),
        *_numbers(shown.points, x, y),
        title=title,
        description=f"{shown.x_title} against {shown.y_title}: {told}",
        height=_HEIGHT,
    )


def _across(axis: Axis, value: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * axis.share(value)


def _down(axis: Axis, value: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * axis.share(value)


def _grid(x: Axis, y: Axis) -> list[Svg]:
    parts: list[Svg] = []
    for tick in y.ticks:
        height = _down(y, tick)
        parts.append(_line("grid", percent(_LEFT), height, percent(_RIGHT), height))
        parts.append(label(y.shown(tick), {"x": "0", "y": height + 4, "class": "tick"}))
    for tick in x.ticks:
        place = percent(_across(x, tick))
        parts.append(_line("grid", place, _BOTTOM, place, _BOTTOM + 5))
        text: Attributes = {"x": place, "y": _BOTTOM + 20, "class": "tick", "text-anchor": "middle"}
        parts.append(label(x.shown(tick), text))
    return parts


def _levels(shown: Scatter, x: Axis, y: Axis) -> list[Svg]:
    """Return the lines, each with its name where nothing else stands, rather right than left."""
    taken = [
        _Box(across - _MARKER_X, across + _MARKER_X, down - 24, down + 7)
        for across, down in ((_across(x, item.x), _down(y, item.y)) for item in shown.points)
    ]
    parts: list[Svg] = []
    for level in shown.levels:
        height = _down(y, level.y)
        kind = f"level {level.kind}".strip()
        parts.append(_line(kind, percent(_LEFT), height, percent(_RIGHT), height))
        name = shortened(level.name)
        width = len(name) * _LETTER_X
        bands = (height - 17, height - 2), (height + 2, height + 17)
        places = [_Box(end - width, end, *band) for end in _ENDS for band in bands]
        free = (place for place in places if not any(map(place.overlaps, taken)))
        place = next(free, places[0])
        taken.append(place)
        at: Attributes = {
            "x": percent(place.right),
            "y": place.bottom - 3,
            "class": "tick",
            "text-anchor": "end",
        }
        parts.append(label(name, at))
    return parts


@dataclass(frozen=True)
class _Box:
    """Where something stands: shares of the width, and pixels."""

    left: float
    right: float
    top: float
    bottom: float

    def overlaps(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def _steps(corners: Sequence[tuple[float, float]]) -> list[Svg]:
    return [
        _line("front", percent(left), top, percent(right), bottom)
        for (left, top), (right, bottom) in pairwise(corners)
    ]


def _marker(point: Point, x: Axis, y: Axis) -> Svg:
    path = element("path", {"class": "marker", "d": _DISC})
    place: Attributes = {"x": percent(_across(x, point.x)), "y": _down(y, point.y)}
    return element("svg", {**place, "overflow": "visible", "width": 1, "height": 1}, path)


def _numbers(points: Sequence[Point], x: Axis, y: Axis) -> list[Svg]:
    """Return the numbers; points that lie on each other share one text."""
    groups: list[list[Point]] = []
    for point in points:
        for group in groups:
            across = abs(_across(x, group[0].x) - _across(x, point.x))
            if across < _NEAR_X and abs(_down(y, group[0].y) - _down(y, point.y)) < _NEAR_Y:
                group.append(point)
                break
        else:
            groups.append([point])
    return [
        label(
            ", ".join(str(point.number) for point in group),
            {
                "x": percent(_across(x, group[0].x)),
                "y": min(_down(y, point.y) for point in group) - 12,
                "class": "number",
                "text-anchor": "middle",
            },
        )
        for group in groups
    ]


def _line(kind: str, x1: str, y1: float, x2: str, y2: float) -> Svg:
    return element("line", {"class": kind, "x1": x1, "y1": y1, "x2": x2, "y2": y2})
