"""The Dockerfiles install what exists; nothing here can build them for a board."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def text(request: pytest.FixtureRequest) -> str:
    return str(Path(request.param).read_text())


def test_both_jetpacks_have_one() -> None:
    assert [path.name for path in FILES] == ["jetpack6.Dockerfile", "jetpack7.Dockerfile"]


def test_the_extra_that_it_installs_is_declared(text: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]

    (wanted,) = re.findall(r"pip install '/src/edgekit\[(\w+)\]'", text)
    assert wanted in extras


def test_the_environment_sees_tensorrts_system_package(text: str) -> None:
    assert "python3-libnvinfer" in text
    assert "python3 -m venv --system-site-packages" in text


def test_engines_are_kept_outside_of_the_image(text: str) -> None:
    assert "EDGEKIT_CACHE=/cache" in text
    assert re.search(r"^VOLUME /cache$", text, re.MULTILINE)


def test_it_says_that_no_board_has_run_it(text: str) -> None:
    assert "Not yet built or run on a board" in text
