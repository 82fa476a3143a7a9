"""The calibration cache of TensorRT 8.5 to 10: a scale per tensor, as text."""

from __future__ import annotations

import re

from edgekit.errors import TensorRtError
from edgekit.runtimes.tensorrt.release import Release

_HEADER = re.compile(r"TRT-\d+-EntropyCalibration2$")
_ENTRY = re.compile(r".+: [0-9a-fA-F]{8}$")


def running_cache(cache: bytes, release: Release) -> bytes:
    """Return a cache whose first line names the running release, which else ignores it.

    Raises:
        TensorRtError: It is no calibration cache.
    """
    lines = cache.decode("ascii", errors="replace").split("\n")
    entries = [line for line in lines[1:] if line]
    if not _HEADER.match(lines[0]) or not entries or not all(map(_ENTRY.match, entries)):
        raise TensorRtError(
            f"the calibration cache begins with {lines[0][:60]!r}; one begins with "
            "TRT-8502-EntropyCalibration2 and has a line 'tensor: 3c010204' per tensor"
        )
    header = f"TRT-{release.calibration_number()}-EntropyCalibration2"
    return "\n".join([header, *entries, ""]).encode("ascii")
