"""Write the small bundle that ``edgekit selftest --device`` runs.

    python scripts/write_selftest_bundle.py

A convolutional network of seeded weights, for TensorRT in float16 and int8 and for ONNX Runtime.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from networks.builder import NetBuilder  # noqa: E402

from edgekit.calibration.contract import Promise  # noqa: E402
from edgekit.pipeline import Terms, convert  # noqa: E402

OUTPUT = ROOT / "edgekit" / "runtimes" / "selftest" / "model.edgekit"
SHAPE = (1, 3, 32, 32)
CHANNELS = (16, 32, 32)
SAMPLES = 32


def model() -> onnx.ModelProto:
    """Return a stack of convolutions with a residual, and scores of ten classes."""
    net = NetBuilder("selftest")
    make = onnx.helper.make_node
    value, width = net.input("image", SHAPE), SHAPE[1]
    for index, channels in enumerate(CHANNELS):
        weight = net.rng.normal(0, (2 / (9 * width)) ** 0.5, (channels, width, 3, 3))
        name = f"conv_{index}"
        net.nodes.append(
            make(
                "Conv",
                [value, net.constant(weight.astype(np.float32))],
                [name],
                name=name,
                pads=[1, 1, 1, 1],
                strides=[1, 1] if channels == width else [2, 2],
            )
        )
        if channels == width:
            net.nodes.append(make("Add", [name, value], [f"add_{index}"], name=f"add_{index}"))
            name = f"add_{index}"
        value = f"relu_{index}"
        net.nodes.append(make("Relu", [name], [value], name=value))
        width = channels
    net.nodes.append(make("GlobalAveragePool", [value], ["pooled"], name="pool"))
    net.nodes.append(make("Flatten", ["pooled"], ["flat"], name="flatten"))
    head = net.rng.normal(0, width**-0.5, (10, width)).astype(np.float32)
    net.nodes.append(
        make("Gemm", ["flat", net.constant(head)], ["scores"], name="scores", transB=1)
    )
    net.outputs.append(
        onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [1, 10])
    )
    return net.model()


def main() -> None:
    """Convert it."""
    samples = np.random.default_rng(0).normal(0, 1, (SAMPLES, *SHAPE[1:])).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path, data = Path(folder, "selftest.onnx"), Path(folder, "samples.npy")
        onnx.save(model(), path)
        np.save(data, samples)
        convert(
            path,
            targets=["onnx", "tensorrt:fp16", "tensorrt:int8"],
            output=OUTPUT,
            calibration=data,
            terms=Terms(metric="cosine", promise=Promise.parse("5%"), advise=False),
            progress=lambda stage: print(stage, file=sys.stderr),
        )
    print(f"wrote {OUTPUT.relative_to(ROOT)}, {OUTPUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
