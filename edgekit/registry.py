"""Tables of things that can be picked by name, imported only when picked.

A table is a plain ``dict[str, Entry]``. To add a thing: write its file, add one
line to its table, and, where it needs a library, one extra to pyproject.toml.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.errors import MissingDependencyError, UsageError


@dataclass(frozen=True)
class Entry:
    """One line of a table.

    Args:
        path: ``"module:attribute"`` of the class or function.
        needs: Import names that must be there, each either one name or
            alternatives joined by ``|`` (``"ai_edge_litert|tflite_runtime"``).
        extra: Extra of pyproject.toml that installs them.
        summary: One line for help texts.
    """

    path: str
    needs: tuple[str, ...] = ()
    extra: str = ""
    summary: str = ""

    def missing(self) -> tuple[str, ...]:
        """Return the needs that are not installed; nothing is imported."""
        return tuple(need for need in self.needs if not any(map(is_installed, need.split("|"))))

    def load(self) -> Any:
        """Import and return the object.

        Raises:
            MissingDependencyError: A library that it needs is not installed.
        """
        missing = self.missing()
        if missing:
            names = ", ".join(need.replace("|", " or ") for need in missing)
            verb = "is" if len(missing) == 1 else "are"
            raise MissingDependencyError(
                f"{names} {verb} not installed; run: pip install 'edgekit[{self.extra}]'"
            )
        module, _, attribute = self.path.partition(":")
        return getattr(importlib.import_module(module), attribute)


def is_installed(name: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def pick(table: Mapping[str, Entry], name: str, *, kind: str) -> Entry:
    """Return the entry of that name.

    Raises:
        UsageError: There is none; the message names the closest and all choices.
    """
    if name in table:
        return table[name]
    raise UsageError(unknown_name(name, table, kind=kind))


def unknown_name(name: str, choices: Mapping[str, Any] | tuple[str, ...], *, kind: str) -> str:
    """Return the message for a name that is not among the choices, with the closest one."""
    close = difflib.get_close_matches(name, list(choices), n=1)
    hint = f" did you mean {close[0]!r}?" if close else ""
    return f"no {kind} named {name!r};{hint} choose from: {', '.join(choices)}"
