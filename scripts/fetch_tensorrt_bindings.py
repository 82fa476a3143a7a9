"""Fetch the Python bindings of TensorRT releases, about 1.3 MB each, into a cache folder.

They are NVIDIA's own wheels without TensorRT's libraries; tests/test_tensorrt_bindings.py
imports them over a stub. Run it once before working without a network::

    python scripts/fetch_tensorrt_bindings.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

RELEASES = {
    "10.3.0": "tensorrt-cu12-bindings",  # JetPack 6.1 and 6.2
    "10.7.0": "tensorrt-cu12-bindings",
    "10.13.3.9": "tensorrt-cu12-bindings",  # JetPack 7.0
    "10.16.1.11": "tensorrt-cu12-bindings",  # JetPack 7.2
    "11.4.0.106": "tensorrt-cu13-bindings",
}
"""Package by release."""

NOT_FOR_3_13 = ("10.3.0", "10.7.0")
"""Releases whose newest wheel is for Python 3.12."""


def cache_folder() -> Path:
    """Return where wheels are kept: under ``EDGEKIT_CACHE`` or the user's cache."""
    root = os.environ.get("EDGEKIT_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "edgekit" / "tensorrt-bindings"


def fetch(release: str, folder: Path) -> Path:
    """Return the wheel of a release for this interpreter, downloaded where it is not there.

    Raises:
        subprocess.CalledProcessError: pip cannot get it.
    """
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    pattern = f"*_bindings-{release}-{tag}-*.whl"
    if not any(folder.glob(pattern)):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--only-binary", ":all:"]
        command += ["--dest", str(folder), f"{RELEASES[release]}=={release}"]
        subprocess.run(command, check=True, timeout=240)
    return next(folder.glob(pattern))


def unpack(wheel: Path, folder: Path) -> Path:
    """Unpack a wheel into a folder, which is then a path to import from."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


if __name__ == "__main__":
    for name in RELEASES:
        print(fetch(name, cache_folder()))
