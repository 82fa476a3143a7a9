"""A builder for the simulated TensorRT, run in a real child as the real one is.

The engine is the ONNX file behind a tag. Environment: SIMULATED_BUILD=kill (the kernel's way to
end it, until the spec asks for less workspace), =wrong (another model's engine), =slow, =refuse.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from tensorrt_simulation import TAG

from edgekit.runtimes.tensorrt.saying import end_with_parent, finish, say
from edgekit.runtimes.tensorrt.spec import BuildSpec


def main() -> int:
    end_with_parent()
    spec = BuildSpec.from_json(json.loads(Path(sys.argv[1]).read_text()))
    way, _, only = os.environ.get("SIMULATED_BUILD", "").partition(":")
    if only and only != spec.precision:
        way = ""
    say(stage="parse")
    say(stage="build")
    if way == "kill" and spec.workspace_mib >= 64 and spec.optimization_level is None:
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "refuse":
        say(error="TensorRT failed in parsing at node conv: the operator is not supported")
        return 1
    if way == "slow":
        for percent in range(100):
            say(percent=percent)
            time.sleep(0.05)
    content = spec.model.read_bytes()
    if way == "wrong":
        import onnx

        model = onnx.load_from_string(content)
        for item in model.graph.initializer:
            if item.data_type == onnx.TensorProto.FLOAT:
                item.CopyFrom(
                    onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(item) * -3, item.name)
                )
        content = model.SerializeToString()
    Path(sys.argv[2]).write_bytes(TAG + content)
    finish({"release": str(spec.release), "plan_bytes": len(content), "seconds": {"build": 0.1}})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
