"""One bar, to stand in a table beside its number."""

from __future__ import annotations

from edgekit.report.svg import Svg, element, percent, shortened, words

_HEIGHT = 12


def bar(value: float, largest: float, *, title: str, kind: str = "") -> Svg:
    """Return a bar whose length is ``value / largest`` of its place.

    Args:
        value: At least 0.
        largest: Of all values beside it.
        title: Name and number, for a screen reader and the mouse.
        kind: CSS class of its colour.
    """
    share = 0.0 if largest <= 0 else min(1.0, max(0.0, value / largest))
    box = {"x": 0, "y": 0, "height": _HEIGHT, "rx": 2}
    return element(
        "svg",
        {"class": "bar", "role": "img", "width": "100%", "height": _HEIGHT},
        element("title", {}, words(shortened(title, 200))),
        element("rect", {"class": "track", "width": "100%", **box}),
        element("rect", {"class": f"fill {kind}".strip(), "width": percent(share), **box}),
    )
