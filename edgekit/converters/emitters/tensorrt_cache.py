"""TensorRT's calibration cache: the scales of a table, for a builder that quantizes itself.

Source: the cache file and its translator in NVIDIA's cuDLA-samples. Each line is a tensor's
name and the bits of its scale (amax / 127) as an IEEE-754 single, most significant byte first.
"""

from __future__ import annotations

import struct

from edgekit.quantized import QuantizedGraph

CACHE_FILE = "calibration.cache"
OLDEST_RELEASE = 8502
"""8.5.2 (JetPack 5.1); the builder puts its own release into the first line."""


def calibration_cache(quantized: QuantizedGraph, *, release: int = OLDEST_RELEASE) -> str:
    """Return the cache's text for the activations of a symmetric table.

    Args:
        quantized: Its table is of the scheme ``tensorrt-int8``.
        release: TensorRT's version as its header writes it: 8502 is 8.5.2.
    """
    constants = quantized.graph.initializers
    lines = [f"TRT-{release}-EntropyCalibration2"]
    lines += [
        f"{name}: {struct.pack('>f', code.quantization.scale[0]).hex()}"
        for name, code in quantized.codes.items()
        if name not in constants
    ]
    return "\n".join(lines) + "\n"
