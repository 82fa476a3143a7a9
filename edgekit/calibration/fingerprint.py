"""One number for a sequence of samples, kept while they stream by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from edgekit.graph import Array


def sample_digest(sample: Mapping[str, Array]) -> str:
    """Return the SHA-256 of one preprocessed sample: names, dtypes, shapes and bytes, hex."""
    digest = hashlib.sha256()
    for name in sorted(sample):
        array = np.ascontiguousarray(sample[name])
        digest.update(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def chained(fingerprint: str, digest: str) -> str:
    """Return the fingerprint of a sequence with one more sample.

    A chain, not one long hash: Python cannot store a half-made SHA-256, and a pass that was
    stopped has to go on from where it was.

    Args:
        fingerprint: Of the sequence so far, hex; ``""`` for none.
        digest: Of the next sample, as ``sample_digest`` makes it.
    """
    return hashlib.sha256(f"{fingerprint}{digest}".encode()).hexdigest()
