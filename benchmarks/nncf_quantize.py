"""Quantize an ONNX file with NNCF; runs in that package's environment.

    NNCF/bin/python benchmarks/nncf_quantize.py FLOAT.onnx SAMPLES.npz INT8.xml

SAMPLES.npz holds one array per input, its samples stacked along a new first axis. Settings are
NNCF's defaults. Its version goes to standard output.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import nncf
import numpy as np
import openvino as ov


def main() -> None:
    """Calibrate, quantize and write."""
    source, samples, result = map(Path, sys.argv[1:4])
    logging.getLogger("nncf").setLevel(logging.ERROR)
    stacked = dict(np.load(samples))
    count = len(next(iter(stacked.values())))
    feeds = [{name: values[i] for name, values in stacked.items()} for i in range(count)]
    model = ov.Core().read_model(source)
    quantized = nncf.quantize(model, nncf.Dataset(feeds), subset_size=count)
    ov.save_model(quantized, result, compress_to_fp16=False)
    print(nncf.__version__)


if __name__ == "__main__":
    main()
