"""What README shows is what happens: its commands are run, its output is compared.

The lines that build an environment are not run here (continuous integration is such a
run); the rest runs with this interpreter. Numbers differ from machine to machine, so
every number is compared as ``#``; so do the verdicts on what is fastest, which are left out.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from digits import ROOT

from edgekit.cli import COMMANDS
from edgekit.registry import is_installed
from edgekit.runtimes import RUNTIMES
from edgekit.runtimes.usable import NEEDS_GPU
from edgekit.target import TARGETS

README = (ROOT / "README.md").read_text(encoding="utf-8")

VERDICTS = ("advice: ", "layers that are most worth keeping in float: ")

pytestmark = pytest.mark.skipif(
    any(entry.missing() for name, entry in RUNTIMES.items() if name not in NEEDS_GPU)
    or not is_installed("cv2"),
    reason="not every runtime is here",
)


@dataclass(frozen=True)
class Shown:
    """A command and the output that README shows."""

    command: str
    output: str


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


def shown() -> list[Shown]:
    found = []
    for block in blocks("console"):
        command, _, output = block.partition("\n")
        found.append(Shown(command.removeprefix("$ "), output))
    return found


def skeleton(text: str) -> list[str]:
    """Return the lines without numbers, and without the width that numbers give to columns."""
    lines = []
    for line in text.splitlines():
        if line.startswith(VERDICTS):
            continue
        masked = re.sub(r"(?<!\S)-(?=\d)", "", line)  # a loss below 0 is a gain
        masked = re.sub(r"\d[\d.]*(e[+-]?\d+)?|\binf\b", "#", masked)
        masked = re.sub(r"-{2,}", "-", re.sub(r"\s+", " ", masked)).strip()
        if masked:
            lines.append(masked)
    return lines


def run(words: list[str], folder: Path) -> str:
    result = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("readme")
    (path / "examples").symlink_to(ROOT / "examples")
    return path


def test_the_commands_print_what_readme_shows(folder: Path) -> None:
    for item in shown():
        name, *words = shlex.split(item.command)
        if name == "edgekit":
            output = run([sys.executable, "-m", "edgekit", *words], folder)
        else:
            output = run([sys.executable, *words], ROOT)

        assert skeleton(output) == skeleton(item.output), item.command

    # The Python example loads the bundle that the commands made.
    (script,) = blocks("python")
    assert run([sys.executable, "-c", script], folder).split()[-1] == "7"


def test_the_set_up_lines_do_what_the_makefile_does() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    made, plain = blocks("bash")

    assert [line.split()[1] for line in made.splitlines()] == ["demo", "test"]
    demo, test = plain.splitlines()
    assert demo.endswith("'.[all]' && .venv/bin/python scripts/demo.py")
    assert test.endswith("'.[test]' && .venv/bin/pytest")
    assert "$(VENV)/bin/python scripts/demo.py" in makefile
    assert "$(VENV)/bin/python -m pytest" in makefile


@pytest.mark.parametrize("name", [*COMMANDS, *TARGETS])
def test_every_command_and_target_is_in_readme(name: str) -> None:
    assert f"`edgekit {name}`" in README or f"`{name}`" in README


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_extra_that_readme_names_exists() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    for names in re.findall(r"'\.\[([a-z,]+)\]'", README):
        for name in names.split(","):
            assert re.search(rf"^{name} = \[", project, re.M), name
