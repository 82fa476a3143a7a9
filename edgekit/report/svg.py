"""Pieces of SVG: made of text that is escaped, and drawn by the page's own style sheet.

A bundle comes from anywhere, so a name in it may be markup, or hold characters that turn the
text around it. Positions along the width are per cent: a chart is as wide as the page, and its
letters have the same size on a phone and on a desk.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass

# What HTML cannot hold, and what changes the direction of the text after it (Trojan Source,
# CVE-2021-42574).
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_SHOWN = 60


def printable(text: str) -> str:
    """Return the text with what no page can show replaced by U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", text)


def shortened(text: str, limit: int = _SHOWN) -> str:
    """Return the text with its middle left out where it is longer than the limit."""
    if len(text) <= limit:
        return text
    half = (limit - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


@dataclass(frozen=True)
class Svg:
    """Markup that is safe as it is.

    Args:
        text: The markup; everything in it that came from outside is escaped.
    """

    text: str

    def __html__(self) -> str:
        """Return the markup; Jinja takes it without escaping it again."""
        return self.text


Attributes = Mapping[str, str | float]


def element(name: str, attributes: Attributes | None = None, *inside: Svg) -> Svg:
    """Return ``<name attribute="value">inside</name>``; values are escaped."""
    given = "".join(
        f' {key}="{html.escape(printable(_shown(value)))}"'
        for key, value in (attributes or {}).items()
    )
    return Svg(f"<{name}{given}>{''.join(item.text for item in inside)}</{name}>")


def words(text: str) -> Svg:
    """Return escaped text."""
    return Svg(html.escape(printable(text)))


def label(text: str, attributes: Attributes) -> Svg:
    """Return a text element."""
    return element("text", attributes, words(text))


def chart(ident: str, *inside: Svg, title: str, description: str, height: int) -> Svg:
    """Return a chart as wide as its place, which a screen reader reads as one picture.

    Args:
        ident: Unique on the page.
        inside: What is drawn; x and widths in per cent, y in pixels.
        title: What it is.
        description: What it shows, in words.
        height: In pixels.
    """
    return element(
        "svg",
        {
            "class": "chart",
            "role": "img",
            "width": "100%",
            "height": height,
            "aria-labelledby": f"{ident}-title {ident}-text",
        },
        element("title", {"id": f"{ident}-title"}, words(title)),
        element("desc", {"id": f"{ident}-text"}, words(description)),
        *inside,
    )


def percent(share: float) -> str:
    """Return a share of the width, 0 to 1, as SVG takes it."""
    return f"{share * 100:.3f}%"


def _shown(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"
