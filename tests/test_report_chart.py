"""Nothing in the chart of accuracy against latency stands on something else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from report_models import Element, parsed

from edgekit.report.scatter import Level, Point, Scatter, scatter

# A letter of the style sheet's 13 px, as a share of the narrowest chart: 320 px less its margins.
LETTER = 6.5 / 288
HEIGHT = 13


@dataclass(frozen=True)
class Case:
    """Where markers stand: milliseconds, and the metric."""

    id: str
    places: tuple[tuple[float, float], ...]


CASES = (
    Case("right", ((10.0, 0.9),)),
    Case("both_ends", ((1.0, 0.9), (10.0, 0.9))),
    Case("below_too", ((10.0, 0.9), (10.0, 0.895))),
    Case("on_both_lines", ((10.0, 0.9), (10.0, 0.8), (2.0, 0.9))),
)


def chart(case: Case) -> Element:
    points = tuple(Point(number, "p", *place) for number, place in enumerate(case.places, 1))
    levels = Level(0.9, "float model", "float"), Level(0.8, "promised limit", "limit")
    shown = Scatter(points=points, levels=levels, x_title="ms", y_title="top1")
    return parsed(scatter("chart", shown, title="Accuracy against latency").text)


def boxes(texts: list[Element]) -> list[tuple[float, float, float, float]]:
    """Return left, right, top and bottom of each text."""
    found = []
    for item in texts:
        width = len(item.text) * LETTER
        x, y = float(item.attributes["x"].rstrip("%")) / 100, float(item.attributes["y"])
        left = x - {"end": width, "middle": width / 2}[item.attributes["text-anchor"]]
        found.append((left, left + width, y - HEIGHT, y))
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_names_of_lines_leave_the_numbers_of_markers_readable(case: Case) -> None:
    shown = chart(case)

    names = [item for item in shown.each("text") if item.text in ("float model", "promised limit")]
    numbers = boxes(shown.with_class("number"))
    assert len(names) == 2
    assert not [
        name
        for name in boxes(names)
        for number in numbers
        if name[0] < number[1] and number[0] < name[1] and name[2] < number[3] - 1
        if number[2] < name[3]
    ]


def test_two_lines_that_are_close_have_names_apart() -> None:
    levels = Level(0.9, "float model"), Level(0.8999, "promised limit")
    shown = Scatter(points=(Point(1, "p", 5.0, 0.5),), levels=levels, x_title="ms", y_title="top1")

    texts = list(parsed(scatter("chart", shown, title="t").text).each("text"))

    one, other = (
        float(item.attributes["y"])
        for item in texts
        if item.text in ("float model", "promised limit")
    )
    assert abs(one - other) >= HEIGHT


def test_a_long_metric_keeps_its_title_within_the_chart() -> None:
    name = "package.module:" + "metric" * 40
    shown = Scatter(points=(Point(1, "p", 5.0, 0.5),), levels=(), x_title="ms", y_title=name)

    (title,) = (
        item
        for item in parsed(scatter("chart", shown, title="t").text).with_class("title")
        if item.text.startswith("package")
    )

    assert len(title.text) * LETTER < 1
    assert title.text.endswith("metric")
