"""The report can be read by everybody, and its browser loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from itertools import pairwise
from pathlib import Path

import pytest
from report_models import Element, parsed, write_full

pytest.importorskip("jinja2", reason="the report needs Jinja2")

from edgekit.report.page import render
from edgekit.report.view import view_of

STYLE = Path(__file__).resolve().parents[1] / "edgekit" / "report" / "page.css"

# WCAG 2.2, success criterion 1.4.3: text of normal size against its background.
LEAST_CONTRAST = 4.5


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Element:
    return parsed(render(view_of(write_full(tmp_path_factory.mktemp("report") / "m.edgekit"))))


def test_the_page_has_one_title_one_main_and_headings_in_order(page: Element) -> None:
    levels = [int(item.tag[1]) for item in page.each() if re.fullmatch(r"h\d", item.tag)]

    assert len(list(next(page.each("head")).each("title"))) == 1
    assert len(list(page.each("main"))) == 1
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))


def test_tables_and_pictures_tell_what_they_are(page: Element) -> None:
    tables, pictures = list(page.each("table")), list(page.each("svg"))
    heads = [cell for table in tables for cell in table.each("th")]
    shown = [item for item in pictures if item.attributes.get("width") != "1"]

    assert all(list(table.each("caption")) for table in tables)
    assert {cell.attributes.get("scope") for cell in heads} == {"row", "col"}
    assert {item.attributes.get("role") for item in shown} == {"img"}
    assert all(item.children[0].tag == "title" for item in shown)  # type: ignore[union-attr]


def test_every_reference_within_the_page_leads_somewhere(page: Element) -> None:
    idents = [item.attributes["id"] for item in page.each() if "id" in item.attributes]
    wanted = {item.attributes["href"].lstrip("#") for item in page.each("a")}
    for item in page.each():
        wanted |= set(item.attributes.get("aria-labelledby", "").split())

    assert len(idents) == len(set(idents))
    assert wanted <= set(idents)


def test_the_style_sheet_is_the_one_that_the_policy_allows(page: Element) -> None:
    (style,) = page.each("style")
    (policy,) = (
        item.attributes["content"]
        for item in page.each("meta")
        if item.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()

    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert not [item for item in page.each() if "style" in item.attributes]


def test_the_same_bundle_gives_the_same_page(tmp_path: Path) -> None:
    bundle = write_full(tmp_path / "m.edgekit")

    assert render(view_of(bundle)) == render(view_of(bundle))


def themes() -> list[dict[str, str]]:
    """Return the colours of the light and the dark theme by name."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(encoding="utf-8"), re.S)[:2]
    return [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def luminance(colour: str) -> float:
    """Return the relative luminance. Source: WCAG 2.2, definition of relative luminance."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", themes(), ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [("ink", "paper"), ("ink", "card"), ("soft", "paper"), ("soft", "card"), ("main", "paper"),
     ("good", "good-bg"), ("warn", "warn-bg"), ("bad", "bad-bg")],
)  # fmt: skip
def test_text_stands_out_from_what_is_behind_it(
    text: str, ground: str, theme: dict[str, str]
) -> None:
    dark, light = sorted((luminance(theme[text]), luminance(theme[ground])))

    assert (light + 0.05) / (dark + 0.05) >= LEAST_CONTRAST
