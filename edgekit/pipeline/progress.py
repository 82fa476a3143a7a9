"""Long work tells the name of each stage as it starts."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]
"""Told the name of each stage as it starts."""


def ignore(stage: str) -> None:
    """Tell nobody."""
