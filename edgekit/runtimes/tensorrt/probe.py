"""Make a TensorRT runtime and end: run in a child, for what can end a process.

``python -m edgekit.runtimes.tensorrt.probe [EDITION]`` says what it found in one line of JSON.
"""

from __future__ import annotations

import sys

from edgekit.errors import EdgeKitError
from edgekit.runtimes.cuda import open_cuda
from edgekit.runtimes.tensorrt.api import open_api
from edgekit.runtimes.tensorrt.saying import end_with_parent, finish, say


def main(edition: str = "") -> int:
    """Try it; returns the status."""
    end_with_parent()
    try:
        say(stage="open CUDA")
        cuda = open_cuda()
        count = cuda.device_count()
        if not count:
            say(error="there is no NVIDIA GPU that CUDA can use here")
            return 1
        cuda.use(0)
        say(stage="make a runtime")
        api = open_api(edition or None)
        api.runtime()
    except EdgeKitError as error:
        say(error=str(error))
        return 1
    finish({"release": str(api.release), "devices": count, "cuda": cuda.name})
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:2]))
