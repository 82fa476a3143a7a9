"""The report as one HTML file that needs nothing else: no network, no script, no font."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edgekit._version import __version__
from edgekit.bundle import Bundle
from edgekit.report import words
from edgekit.report.svg import printable
from edgekit.report.view import View, view_of
from edgekit.report.write import write_text

_HERE = Path(__file__).parent
_MOST_LABELS = 40


def render(view: View) -> str:
    """Return the page."""
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,  # every text of a bundle is hostile until it is escaped
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        bytes=words.size, number=words.number, percent=words.share, shape=words.shape
    )
    # The style sheet is ours, and stands in the page as it is: its hash lets it through.
    environment.globals.update(
        style=style, policy=content_policy(style), counted=words.counted, listed=words.listed
    )
    return environment.get_template("page.html").render(
        view=view, manifest=view.manifest, version=__version__, most_labels=_MOST_LABELS
    )


def content_policy(style: str) -> str:
    """Return the Content-Security-Policy: nothing is loaded, and only our style sheet applies.

    Source: W3C Content Security Policy Level 3, section 2.3.1 (hash sources).
    """
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def write_report(bundle: Bundle, path: Path) -> Path:
    """Write the report of a bundle; an old file at that path stays until the new one is whole.

    Args:
        bundle: What it is about.
        path: Where to.

    Raises:
        UsageError: Something that is no report is at that path, or its folder is missing.
        BundleIntegrityError: The bundle's ranges do not match their hash.
    """
    write_text(path, render(view_of(bundle)), suffix=".html")
    return path


def _finalized(value: object) -> object:
    return printable(value) if type(value) is str else value
