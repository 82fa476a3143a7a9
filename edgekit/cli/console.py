"""What commands print: lines, tables, progress; or one JSON document on request.

A person at a terminal gets rich's tables where rich is installed; a pipe, a log
and a machine without rich get plain aligned text, and rich is then not imported.
The answer goes to stdout, progress and errors to stderr.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.registry import is_installed

if TYPE_CHECKING:
    from edgekit.pipeline.progress import Progress

CLEAR_LINE = "\r\x1b[2K"
_MIN_SHOWN_S = 0.05


@dataclass(frozen=True)
class Table:
    """Rows to print.

    Args:
        columns: Titles; one that starts with ``>`` stands right.
        rows: Cells, as many in each row as there are columns.
        title: Printed above.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""


class Console:
    """Where a command's words go.

    Args:
        json_only: Whether stdout holds one JSON document and nothing else.
    """

    def __init__(self, *, json_only: bool = False) -> None:
        self.json_only = json_only
        self.has_answered = False
        self._stages: _Stages | None = None

    def line(self, text: str = "") -> None:
        """Print one line of the answer; nothing in JSON mode."""
        if not self.json_only:
            print(_fitted(text))

    def note(self, text: str) -> None:
        """Print one line beside the answer, on stderr."""
        print(text, file=sys.stderr)

    def json(self, data: Mapping[str, Any]) -> None:
        """Print the document; nothing unless in JSON mode."""
        if self.json_only:
            print(json.dumps(data, indent=2))
            self.has_answered = True

    def table(self, table: Table) -> None:
        """Print a table; nothing in JSON mode or where it has no rows."""
        if self.json_only or not table.rows:
            return
        if sys.stdout.isatty() and is_installed("rich"):
            _print_rich(table)
        else:
            print(plain_table(table))

    def update(self, detail: str) -> None:
        """Show how far the running stage is, where a person looks on."""
        if self._stages is not None:
            self._stages.update(detail)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Yield a callback that takes the name of each stage as it starts."""
        stages = _Stages(is_live=sys.stderr.isatty(), is_quiet=self.json_only)
        self._stages = stages
        try:
            yield stages.start
        except BaseException:
            stages.abandon()
            raise
        finally:
            self._stages = None
        stages.finish()


class _Stages:
    """Show the stage that runs; leave a line with its time when the next one starts."""

    def __init__(self, *, is_live: bool, is_quiet: bool) -> None:
        self._is_live = is_live
        self._is_quiet = is_quiet
        self._name = ""
        self._started_s = 0.0

    def start(self, name: str) -> None:
        self.finish()
        self._name = name
        self._started_s = time.perf_counter()
        if self._is_live:
            print(f"{CLEAR_LINE}… {name}", end="", file=sys.stderr, flush=True)

    def update(self, detail: str) -> None:
        if self._is_live and self._name:
            line = f"… {self._name}: {detail}"[: shutil.get_terminal_size().columns - 1]
            print(f"{CLEAR_LINE}{line}", end="", file=sys.stderr, flush=True)

    def finish(self) -> None:
        if not self._name:
            return
        elapsed_s = time.perf_counter() - self._started_s
        self.abandon()
        if not self._is_quiet:
            shown = f"{elapsed_s:6.1f} s" if elapsed_s >= _MIN_SHOWN_S else ""
            print(f"{self._name:<40}{shown}".rstrip(), file=sys.stderr, flush=True)
        self._name = ""

    def abandon(self) -> None:
        if self._is_live:
            print(CLEAR_LINE, end="", file=sys.stderr, flush=True)


def plain_table(table: Table) -> str:
    """Return the table as aligned text with a rule under its head."""
    is_right = [title.startswith(">") for title in table.columns]
    lines = [[title.lstrip(">") for title in table.columns], *map(list, table.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(is_right))]
    lines.insert(1, ["-" * width for width in widths])
    text = "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_right, strict=True)
        ).rstrip()
        for line in lines
    )
    return f"{table.title}\n\n{text}\n" if table.title else f"{text}\n"


def markdown_table(table: Table) -> str:
    """Return the table in GitHub's Markdown, aligned too for whoever reads the text itself.

    The last column is not filled up: it is the one that is long.
    """
    is_right = [title.startswith(">") for title in table.columns]
    lines = [
        [_escaped(cell) for cell in line]
        for line in ([title.lstrip(">") for title in table.columns], *table.rows)
    ]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(is_right))]
    widths[-1] = 3
    rule = [
        f"{'-' * (width - right)}{':' * right}"
        for width, right in zip(widths, is_right, strict=True)
    ]
    text = "".join(
        "| "
        + " | ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_right, strict=True)
        )
        + " |\n"
        for line in (lines[0], rule, *lines[1:])
    )
    return f"**{table.title}**\n\n{text}" if table.title else text


def _escaped(text: str) -> str:
    """Return a text for a cell of Markdown, where it stands as it is, on one line."""
    plain = re.sub(r"([\\`*|\[\]])", r"\\\1", " ".join(text.split()))
    return plain.replace("&", "&amp;").replace("<", "&lt;")


def _print_rich(table: Table) -> None:
    from rich import box
    from rich.console import Console as RichConsole
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title_justify="left")
    shown.title = table.title or None
    for title in table.columns:
        right = title.startswith(">")
        shown.add_column(
            Text(title.lstrip(">")),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    for row in table.rows:
        shown.add_row(*map(Text, row))
    RichConsole(highlight=False).print(shown, "")


def counted(count: int, noun: str) -> str:
    """Return ``"1 file"`` or ``"2 files"``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _fitted(text: str) -> str:
    """Return the text with its long lines broken at words, where a person reads it."""
    width = shutil.get_terminal_size().columns
    if len(text) <= width or not sys.stdout.isatty():
        return text
    return "\n".join(
        textwrap.fill(
            line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        for line in text.split("\n")
    )


def human_bytes(count: int) -> str:
    """Return a size as people read it: ``"1.4 MB"`` (powers of 1000)."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")
