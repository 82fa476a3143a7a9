"""EdgeKit: one trained model becomes one bundle for a Jetson GPU, an Intel CPU and a phone.

The public names are imported on first use, so that ``import edgekit`` costs nothing:

    convert   source model -> bundle
    load      bundle (or a plain model file) -> a running Session
    Bundle    what a bundle holds
    Session   a model that is ready to run
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from edgekit._version import __version__

if TYPE_CHECKING:
    from edgekit.bundle import Bundle
    from edgekit.pipeline import convert
    from edgekit.runtimes.select import load
    from edgekit.runtimes.session import Session

__all__ = ["Bundle", "Session", "__version__", "convert", "load"]

_PUBLIC = {
    "Bundle": "edgekit.bundle",
    "Session": "edgekit.runtimes.session",
    "convert": "edgekit.pipeline",
    "load": "edgekit.runtimes.select",
}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
