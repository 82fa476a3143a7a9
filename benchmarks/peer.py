"""Where other tools are, and how they are called.

A tool whose dependencies clash with EdgeKit's lives in an environment of its own, whose Python
an environment variable names. The peer converter is onnx2tf 2.6.9, the release with a fast
backend of its own, on Python 3.12:

    python3.12 -m venv PEER && PEER/bin/pip install onnx2tf==2.6.9 onnxsim
    export EDGEKIT_ONNX2TF_PYTHON=PEER/bin/python

tf2onnx brings Keras files to ONNX: keras_to_onnx.py.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

VARIABLE = "EDGEKIT_ONNX2TF_PYTHON"
KERAS = "EDGEKIT_TF_PYTHON"


def find_python(variable: str) -> Path | None:
    """Return the Python that an environment variable names, or None where it names none."""
    path = Path(os.environ.get(variable, ""))
    return path if path.is_file() else None


def find_peer() -> Path | None:
    """Return the peer converter's Python, or None where the variable does not name one."""
    return find_python(VARIABLE)


def keras_to_onnx(source: Path, result: Path) -> None:
    """Write a Keras file or a SavedModel as ONNX.

    Raises:
        RuntimeError: No Python with tf2onnx is named, or it fails; with its last line.
    """
    python = find_python(KERAS)
    if python is None:
        raise RuntimeError(f"{KERAS} names no Python with tf2onnx in it; see keras_to_onnx.py")
    command = [python, Path(__file__).with_name("keras_to_onnx.py"), source, result]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not result.is_file():
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise RuntimeError(f"tf2onnx does not convert {source.name}: {last[0][:300]}")


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
