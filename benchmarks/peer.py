"""Where the peer converter is, and how it is called.

The peer is onnx2tf 2.6.9, the release with a fast backend of its own. Its pinned
dependencies clash with EdgeKit's, so it lives in an environment of its own (Python 3.12):

    python3.12 -m venv PEER && PEER/bin/pip install onnx2tf==2.6.9 onnxsim
    export EDGEKIT_ONNX2TF_PYTHON=PEER/bin/python
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

VARIABLE = "EDGEKIT_ONNX2TF_PYTHON"


def find_peer() -> Path | None:
    """Return the peer's Python, or None where the variable does not name one."""
    path = Path(os.environ.get(VARIABLE, ""))
    return path if path.is_file() else None


def peer_version(python: Path) -> str:
    """Return the installed version of onnx2tf."""
    code = "import importlib.metadata as m; print(m.version('onnx2tf'))"
    return subprocess.check_output([python, "-c", code], text=True).strip()


def peer_command(
    python: Path, model: Path, output: Path, *, verify: bool, shapes: dict[str, tuple[int, ...]]
) -> list[str]:
    """Return the peer's command line: quiet; with its own numerical check on request."""
    command = [str(python.parent / "onnx2tf"), "-i", str(model), "-o", str(output), "-n"]
    if verify:
        # Two samples, as many as EdgeKit runs; its default is ten.
        command += ["--eval_with_onnx", "--eval_num_samples", "2"]
    if shapes:
        sizes = [f"{name}:{','.join(map(str, shape))}" for name, shape in shapes.items()]
        command += ["--overwrite_input_shape", *sizes]
    return command


def peer_environment(python: Path) -> dict[str, str]:
    """Return an environment where the peer finds onnxsim: it looks it up on PATH."""
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path}


def peer_file(output: Path) -> Path | None:
    """Return the float32 file that the peer wrote, or None."""
    return next(iter(sorted(output.glob("*_float32.tflite"))), None)
