"""What an app is: actions with arguments, and where their words go."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Output(Protocol):
    """Where an action's words go; only the command line prints."""

    def line(self, text: str = "") -> None:
        """Show one line of the answer; nothing where JSON is asked for."""

    def note(self, text: str) -> None:
        """Show one line beside the answer."""

    def progress(self, text: str) -> None:
        """Show what is being done, where a person looks on; ``""`` takes it away."""

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show rows of cells; a title that starts with ``>`` stands right."""

    def answer(self, data: Mapping[str, Any]) -> None:
        """Give the whole answer as one JSON document, where JSON is asked for."""

    def event(self, data: Mapping[str, Any], text: str = "") -> None:
        """Give one line of a stream at once: the data as JSON, or else the text if any."""


@dataclass(frozen=True)
class Action:
    """One thing that an app does.

    Args:
        summary: One line for help texts.
        configure: Adds its arguments.
        run: Does the work; returns the exit status.
        example: Shown under its ``--help``.
    """

    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Output], int]
    example: str = ""


@dataclass(frozen=True)
class App:
    """An application.

    Args:
        actions: By name.
    """

    actions: Mapping[str, Action]
