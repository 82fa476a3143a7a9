"""``edgekit app``: a reference application, picked from its table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.apps import APPS
from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import CLEAR_LINE, Console, Table
from edgekit.errors import UsageError
from edgekit.registry import pick, unknown_name

EXAMPLE = """example:
  edgekit app                              the apps
  edgekit app face-unlock                  what one can do
  edgekit app face-unlock check --help"""

_HELP_WORDS = ("-h", "--help", "help")


def configure(parser: Parser) -> None:
    """Add the name; what follows is the app's own."""
    parser.add_argument("app", nargs="?", metavar="APP", help="; ".join(APPS))
    options.add_json(parser)
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="ACTION …", help="what it is to do"
    )


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run an action of an app; without one, list what there is."""
    if arguments.app is None:
        console.json({"apps": {name: entry.summary for name, entry in APPS.items()}})
        width = max(map(len, APPS))
        for name, entry in APPS.items():
            console.line(f"{name:<{width}}  {entry.summary}")
        return UsageError.exit_status
    app = pick(APPS, arguments.app, kind="app").load()
    words = list(arguments.words)
    if not words or words[0] in _HELP_WORDS:
        _list_actions(arguments.app, app.actions, console)
        return 0 if words else UsageError.exit_status
    if words[0] not in app.actions:
        raise UsageError(unknown_name(words[0], app.actions, kind=f"action of {arguments.app}"))
    action = app.actions[words[0]]
    parser = Parser(
        f"edgekit app {arguments.app} {words[0]}",
        description=f"{action.summary}.",
        epilog=action.example,
    )
    action.configure(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="full errors")
    given = parser.parse_strictly(words[1:])
    console.json_only = getattr(given, "json", False)
    status: int = action.run(given, _Words(console))
    return status


def _list_actions(name: str, actions: Mapping[str, Any], console: Console) -> None:
    console.line(f"usage: edgekit app {name} ACTION [OPTIONS]\n")
    width = max(map(len, actions))
    for word, action in actions.items():
        console.line(f"  {word:<{width}}  {action.summary}")


class _Words:
    """The console as an app sees it.

    Args:
        console: Where words go.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def line(self, text: str = "") -> None:
        self._console.line(text)

    def note(self, text: str) -> None:
        self._console.note(text)

    def progress(self, text: str) -> None:
        if sys.stderr.isatty():
            print(f"{CLEAR_LINE}{text and '… '}{text}", end="", file=sys.stderr, flush=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self._console.table(Table(columns, rows))

    def answer(self, data: Mapping[str, Any]) -> None:
        self._console.json(data)

    def event(self, data: Mapping[str, Any], text: str = "") -> None:
        """Print at once: who reads a pipe waits for it."""
        if self._console.json_only:
            print(json.dumps(data), flush=True)
            self._console.has_answered = True
        elif text:
            print(text, flush=True)


COMMAND = Command(configure, run, EXAMPLE)
