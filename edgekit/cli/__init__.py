"""The command line: one file per command, imported when it is chosen.

To add a command: write ``edgekit/cli/NAME.py`` with a ``COMMAND`` (a
``cli.command.Command``: what arguments it takes and what it does), and add one
line to ``COMMANDS``. This file and ``main`` stay free of numpy and of every
vendor library, so that ``edgekit --help`` answers at once.
"""

from __future__ import annotations

from edgekit.registry import Entry

COMMANDS: dict[str, Entry] = {
    "convert": Entry(
        "edgekit.cli.convert:COMMAND",
        needs=("onnx",),
        extra="convert",
        summary="turn a model into a bundle for every target",
    ),
    "calibrate": Entry(
        "edgekit.cli.calibrate:COMMAND",
        needs=("onnx", "onnxruntime", "cv2"),
        extra="convert",
        summary="measure the ranges of a model's tensors on your own data",
    ),
    "quantize": Entry(
        "edgekit.cli.quantize:COMMAND",
        needs=("onnx", "onnxruntime"),
        extra="convert",
        summary="write a quantized artifact from a model and its ranges",
    ),
    "inspect": Entry(
        "edgekit.cli.inspect:COMMAND", summary="say what is in a bundle or a model file"
    ),
    "compare": Entry(
        "edgekit.cli.compare:COMMAND",
        needs=("onnx", "onnxruntime"),
        extra="convert",
        summary="find where a bundle and its model part",
    ),
    "bench": Entry("edgekit.cli.bench:COMMAND", summary="time every artifact that runs here"),
    "run": Entry("edgekit.cli.run:COMMAND", summary="run a model on a picture or on arrays"),
    "eval": Entry(
        "edgekit.cli.eval:COMMAND", summary="measure a metric on your own labelled samples"
    ),
    "lint": Entry(
        "edgekit.cli.lint:COMMAND",
        needs=("onnx", "onnxruntime"),
        extra="convert",
        summary="name what in a model will hurt when it is quantized",
    ),
    "verify": Entry(
        "edgekit.cli.verify:COMMAND", summary="check hashes and replay the golden outputs"
    ),
    "build": Entry(
        "edgekit.cli.build:COMMAND",
        summary="build TensorRT engines on this device and keep the fastest that is right",
    ),
    "engines": Entry(
        "edgekit.cli.engines:COMMAND", summary="list or delete the engines that were built here"
    ),
    "selftest": Entry(
        "edgekit.cli.selftest:COMMAND", summary="prove this device, and write a report of it"
    ),
    "report": Entry(
        "edgekit.cli.report:COMMAND",
        needs=("jinja2",),
        extra="report",
        summary="write what a bundle promises and proves as one HTML page",
    ),
    "diff": Entry(
        "edgekit.cli.diff:COMMAND",
        summary="say what changed between two bundles, and fail where it is too much",
    ),
    "app": Entry("edgekit.cli.app:COMMAND", summary="run a reference app, such as face-unlock"),
    "doctor": Entry(
        "edgekit.cli.doctor:COMMAND", summary="say what this machine can run, and what to install"
    ),
}
