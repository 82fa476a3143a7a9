"""Every line of every table leads to something real: to add one is to have it tested."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekit.registry import Entry, is_installed

ROOT = Path(__file__).resolve().parent.parent

TABLES = (
    "edgekit.apps:APPS",
    "edgekit.cli:COMMANDS",
    "edgekit.converters.frontends:FRONTENDS",
    "edgekit.converters.passes:PASSES",
    "edgekit.converters.emitters:EMITTERS",
    "edgekit.runtimes:RUNTIMES",
    "edgekit.metrics:METRICS",
    "edgekit.runtimes.decoders:DECODERS",
    "edgekit.runtimes.validation:VALIDATIONS",
    "edgekit.calibration.lint:RULES",
    "edgekit.converters.passes.rewrites:REWRITES",
)


@dataclass(frozen=True)
class Line:
    table: str
    name: str
    entry: Entry

    @property
    def id(self) -> str:
        return f"{self.table}-{self.name}"


def read_table(path: str) -> dict[str, Entry]:
    module, _, attribute = path.partition(":")
    table: dict[str, Entry] = getattr(importlib.import_module(module), attribute)
    return table


def lines() -> Iterator[Line]:
    for path in TABLES:
        for name, entry in read_table(path).items():
            yield Line(path.rpartition(":")[2], name, entry)


def extras() -> set[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    return set(re.findall(r"^([a-z]+) = \[", section, re.M))


@pytest.mark.parametrize("path", TABLES)
def test_a_table_is_not_empty(path: str) -> None:
    assert read_table(path)


@pytest.mark.parametrize("line", lines(), ids=lambda line: line.id)
def test_an_entry_leads_to_what_its_path_names(line: Line) -> None:
    missing = line.entry.missing()
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed here")

    assert line.entry.load() is not None


@pytest.mark.parametrize("line", lines(), ids=lambda line: line.id)
def test_an_entry_has_a_summary(line: Line) -> None:
    assert line.entry.summary
    assert "\n" not in line.entry.summary


@pytest.mark.parametrize("line", lines(), ids=lambda line: line.id)
def test_an_entry_that_needs_a_library_names_an_extra_that_exists(line: Line) -> None:
    assert line.entry.extra in (extras() if line.entry.needs else {"", *extras()})


@pytest.mark.parametrize("path", TABLES)
def test_reading_a_table_imports_none_of_what_it_names(path: str) -> None:
    named = {need for entry in read_table(path).values() for need in entry.needs}
    module = importlib.util.find_spec(path.partition(":")[0])

    assert module is not None and module.origin is not None
    source = Path(module.origin).read_text(encoding="utf-8")
    libraries = [name for need in named for name in need.split("|") if is_installed(name)]
    assert [
        name for name in libraries if re.search(rf"^\s*(import|from) {name}\b", source, re.M)
    ] == []
