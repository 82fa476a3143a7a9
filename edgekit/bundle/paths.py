"""Which names a file inside a bundle may have: those that mean the same on every system."""

from __future__ import annotations

import re
from collections.abc import Iterable

from edgekit.bundle.limits import MAX_PATH_DEPTH, MAX_PATH_LENGTH
from edgekit.errors import UnsafeBundleError

# Plain letters only: no drive colon, backslash, space, control or look-alike character.
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*", re.ASCII)

# Windows opens a device for these, whatever the extension.
# Source: Microsoft, "Naming Files, Paths, and Namespaces".
_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in "123456789"),
}


def check_path(path: str) -> str:
    """Return the path, which is relative, ``/``-separated and stays inside.

    Raises:
        UnsafeBundleError: It is absolute, climbs out, or has a name that some system
            reads as something else.
    """
    segments = path.split("/")
    fault = ""
    if len(path) > MAX_PATH_LENGTH:
        fault = f"it has {len(path)} letters, over {MAX_PATH_LENGTH}"
    elif len(segments) > MAX_PATH_DEPTH:
        fault = f"it is {len(segments)} folders deep, over {MAX_PATH_DEPTH}"
    else:
        fault = next((why for why in map(_fault_of, segments) if why), "")
    if fault:
        raise UnsafeBundleError(
            f"the path {path[:MAX_PATH_LENGTH]!r} is not allowed in a bundle: {fault}; paths are "
            "relative, like 'openvino-fp32/model.xml', of letters, digits and . _ + -; "
            "do not use a bundle from a source that you do not trust"
        )
    return path


def check_unique(paths: Iterable[str]) -> None:
    """Check that no two paths are one file where letter case does not count, or file and folder.

    Raises:
        UnsafeBundleError: Two are.
    """
    seen: dict[str, str] = {}
    for path in paths:
        if path.lower() in seen:
            raise UnsafeBundleError(
                f"the bundle names {seen[path.lower()]!r} and {path!r}, which are one file on "
                "some systems; each file may be there once"
            )
        seen[path.lower()] = path
    for path in seen.values():
        for parent in parents_of(path):
            if parent.lower() in seen:
                raise UnsafeBundleError(
                    f"the bundle names {parent!r} as a file and as the folder of {path!r}"
                )


def parents_of(path: str) -> list[str]:
    """Return the folders above a path, innermost last: ``"a/b/c"`` gives ``["a", "a/b"]``."""
    segments = path.split("/")
    return ["/".join(segments[:end]) for end in range(1, len(segments))]


def _fault_of(segment: str) -> str:
    if not _SEGMENT.fullmatch(segment):
        return f"{segment!r} is no plain name"
    if segment.endswith("."):
        return f"{segment!r} ends in a dot, which Windows drops"
    if segment.partition(".")[0].lower() in _DEVICES:
        return f"{segment!r} is a device on Windows"
    return ""
