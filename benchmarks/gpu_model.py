"""The network of ``gpu_check.py``: as ResNet-18, of seeded weights, and its bundle.

Writing the bundle needs EdgeKit's converters and ONNX Runtime; a GPU machine that has neither
takes one that was written elsewhere: ``gpu_check.py --write-bundle FILE``, then ``--bundle FILE``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.registry import is_installed
from edgekit.runtimes.selftest import Skip

if TYPE_CHECKING:
    import onnx

ROOT = Path(__file__).resolve().parents[1]
SIZE, WIDTH, CLASSES = 224, 64, 1000
SAMPLES = 16
NEEDS = ("onnx", "onnxruntime")


def resnet18(*, size: int = SIZE, width: int = WIDTH, classes: int = CLASSES) -> onnx.ModelProto:
    """Return the network.

    Args:
        size: Of the picture, in pixels; a multiple of 32.
        width: Channels of the first stage; 64 in the paper.
        classes: How many it tells apart.

    Source: He et al. 2016, table 1, 18-layer.
    """
    import onnx

    if str(ROOT / "tests") not in sys.path:
        sys.path.insert(0, str(ROOT / "tests"))
    from networks.builder import NetBuilder
    from networks.settle import settle

    net = NetBuilder("resnet18")
    x = net.input("image", (1, 3, size, size))
    x = net.max_pool(net.conv_bn(x, (3, width), 7, stride=2), 3, 2, pad=1)
    before = width
    for stage in range(4):
        for block in range(2):
            after, stride = width << stage, 2 if stage and not block else 1
            main = net.conv_bn(x, (before, after), stride=stride)
            main = net.conv_bn(main, (after, after), act="")
            if stride != 1:
                x = net.conv_bn(x, (before, after), 1, stride=stride, act="")
            x = net.op("Relu", net.op("Add", main, x))
            before = after
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    scores = net.dense(x, (before, classes), gain=1.0)
    net.nodes.append(onnx.helper.make_node("Identity", [scores], ["scores"], name="scores"))
    kind = onnx.TensorProto.FLOAT
    net.outputs.append(onnx.helper.make_tensor_value_info("scores", kind, [1, classes]))
    return settle(net.model())


def write_bundle(path: Path, *, size: int = SIZE, width: int = WIDTH) -> Path:
    """Write its bundle for TensorRT in float16 and int8, with goldens; returns the path.

    Raises:
        Skip: This machine has not what that needs.
    """
    missing = [name for name in NEEDS if not is_installed(name)]
    if missing:
        raise Skip(
            f"the network cannot be made here without {' and '.join(missing)}; write the bundle "
            "elsewhere with --write-bundle FILE, and give it here with --bundle FILE"
        )
    import onnx

    from edgekit.calibration.contract import Promise
    from edgekit.pipeline import Terms, convert

    shape = (SAMPLES, 3, size, size)
    samples = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    with tempfile.TemporaryDirectory(prefix="edgekit-gpu-check-") as folder:
        model, data = Path(folder, "resnet18.onnx"), Path(folder, "samples.npy")
        onnx.save(resnet18(size=size, width=width), model)
        np.save(data, samples)
        convert(
            model,
            targets=["tensorrt:fp16", "tensorrt:int8", "onnx"],
            output=path,
            calibration=data,
            # Scores of random weights lie close together: a trained network's promise says little.
            terms=Terms(metric="cosine", promise=Promise.parse("10%"), advise=False),
        )
    return path
