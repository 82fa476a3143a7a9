"""The child's side of ``child.py``: say how far it is, and end when the parent does."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any


def say(**document: Any) -> None:
    """Write one line for the parent.

    Args:
        document: ``stage="parse"``, ``percent=40``, ``warning="..."``, ``error="..."`` or
            ``done={...}``; JSON-ready.
    """
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def finish(facts: Mapping[str, Any]) -> None:
    """Say the last word of a child that succeeded."""
    say(done=dict(facts))


def end_with_parent() -> None:
    """End this process as soon as its parent does, even by a kill.

    The parent holds the other end of standard input and never writes to it.
    """

    def watch() -> None:
        # Not sys.stdin: its lock, held by a thread, would abort the interpreter as it ends.
        while os.read(0, 1):
            continue
        os._exit(1)

    threading.Thread(target=watch, name="edgekit-parent-watch", daemon=True).start()
