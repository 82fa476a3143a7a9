"""Each module imports only from the layers below its own, and vendors stay in their file."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Libraries that one file alone may import (or the files of one prefix: onnx_read, onnx_write).
VENDORS = ("onnx", "onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime", "tensorrt")


def imported_names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def test_the_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    if not lint.exists():
        pytest.skip("import-linter is not installed in this environment")

    result = subprocess.run([str(lint)], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout


def test_a_runtime_library_is_imported_by_one_file_of_each_layer() -> None:
    users: dict[tuple[str, str], set[str]] = defaultdict(set)
    for path in sorted((ROOT / "edgekit").rglob("*.py")):
        relative = path.relative_to(ROOT)
        for vendor in {name.partition(".")[0] for name in imported_names(path)} & set(VENDORS):
            users[vendor, relative.parts[1]].add(path.stem.partition("_")[0])

    assert {key: stems for key, stems in users.items() if len(stems) > 1} == {}


@pytest.mark.parametrize("path", sorted((ROOT / "edgekit").rglob("*.py")), ids=lambda p: p.name)
def test_a_file_stays_under_300_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 300
