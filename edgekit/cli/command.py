"""What one command is, and the parser that reads its arguments."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from edgekit.cli.console import Console
from edgekit.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are ``UsageError``, with the closest match."""

    def __init__(self, prog: str, *, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the whole usage and leaving."""
        raise UsageError(f"{message}; see: {self.prog} --help")

    def parse_strictly(self, argv: Sequence[str]) -> argparse.Namespace:
        """Return the parsed arguments.

        Raises:
            UsageError: Something is missing, malformed or unknown.
        """
        options, unknown = self.parse_known_args(argv)
        if unknown:
            raise UsageError(self._unknown_message(unknown[0]))
        return options

    def _unknown_message(self, word: str) -> str:
        if not word.startswith("-"):
            return f"unexpected argument {word!r}; see: {self.prog} --help"
        option = word.partition("=")[0]
        close = difflib.get_close_matches(option, list(self._option_string_actions), n=1)
        hint = f"did you mean {close[0]}?" if close else f"see: {self.prog} --help"
        return f"{self.prog} has no option {option}; {hint}"


@dataclass(frozen=True)
class Command:
    """One command.

    Args:
        configure: Adds its arguments to the parser.
        run: Does the work; returns the exit status.
        example: Shown under its ``--help``.
    """

    configure: Callable[[Parser], None]
    run: Callable[[argparse.Namespace, Console], int]
    example: str = ""
