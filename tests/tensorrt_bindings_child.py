"""Runs in a child, over the stub: the adapter on a real binding; prints what it found as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import tensorrt_bindings
from tensorrt_api import describe

sys.modules["tensorrt"] = tensorrt_bindings  # what the package of that name re-exports

from edgekit.errors import TensorRtError  # noqa: E402
from edgekit.runtimes.tensorrt.api import open_api  # noqa: E402

CACHE = b"TRT-8502-EntropyCalibration2\nx: 3c010204\n"


def refusal(call: Callable[[], Any]) -> str:
    """Return the message of our error."""
    try:
        call()
    except TensorRtError as error:
        return str(error)
    return ""


api = open_api("full", needs_builder=True)
severity = api.module.ILogger.Severity.ERROR
api.logger.log(severity, "a line")
found: dict[str, Any] = {
    "release": str(api.release),
    "features": api.features,
    "offers": describe(api.module),
    "builder": refusal(api.create_builder),
    "runtime": refusal(api.runtime),
    "log": api.log.errors()[0],
    "calibrator": refusal(lambda: api.calibrator(CACHE)),
    "dims": list(api.module.Dims([1, 3])),
}
if api.features["calibrator"]:
    calibrator = api.calibrator(CACHE)
    found["batch"] = [calibrator.get_batch_size(), calibrator.get_batch(["x"])]
    found["cache"] = bytes(calibrator.read_calibration_cache()).decode()
if api.features["progress"]:
    api.derive("IProgressMonitor", {"step_complete": lambda made, name, step: True})
api.derive("IOutputAllocator", {"notify_shape": lambda made, name, shape: None})
json.dump(found, sys.stdout)
