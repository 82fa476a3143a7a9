"""The package claims one import name; the four names at the root are links into it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINKS = ("apps", "calibration", "converters", "runtimes")


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # A copy: setuptools writes build/ and *.egg-info beside what it builds.
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "edgekit", "pyproject.toml", "README.md", "LICENSE", *LINKS],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if tracked.returncode:
        pytest.skip("not a git checkout, so what belongs to the project is not known")
    for name in tracked.stdout.decode().split("\0")[:-1]:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            target.symlink_to((ROOT / name).readlink())
        elif (ROOT / name).exists():
            target.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", "--wheel-dir", str(folder), str(source)],
        check=True,
    )  # fmt: skip
    (wheel,) = folder.glob("edgekit-*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_the_wheel_holds_only_edgekit(wheel_names: list[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel_names}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"edgekit"}


def test_the_wheel_holds_each_module_once(wheel_names: list[str]) -> None:
    modules = [name for name in wheel_names if name.endswith(".py")]

    assert "edgekit/converters/__init__.py" in modules
    assert len(modules) == len(set(modules))


def test_the_wheel_holds_every_module(wheel_names: list[str]) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "edgekit"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    modules = [name for name in tracked.stdout.splitlines() if name.endswith(".py")]
    assert [name for name in modules if (ROOT / name).exists() and name not in wheel_names] == []


@pytest.mark.parametrize("name", LINKS)
def test_a_root_name_is_a_relative_link_into_the_package(name: str) -> None:
    assert (ROOT / name).readlink() == Path("edgekit") / name


@pytest.mark.parametrize("name", LINKS)
def test_a_linked_package_refuses_its_root_name(name: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    result = subprocess.run(
        [sys.executable, "-c", f"import {name}"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert result.returncode == 1
    assert f"import it as edgekit.{name}" in result.stderr


def test_every_extra_that_all_names_exists() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = set(
        re.findall(r"^([a-z]+) = \[", text.split("[project.optional-dependencies]")[1], re.M)
    )

    named = set(",".join(re.findall(r"edgekit\[([a-z,]+)\]", text)).split(","))
    assert named <= extras
    assert {
        "openvino",
        "tflite",
        "onnxruntime",
        "tensorrt",
        "convert",
        "apps",
        "all",
        "test",
    } <= extras
