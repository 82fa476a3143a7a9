"""A model of a bundle that takes frames: its session, and where a frame lies in its input."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.bundle import Bundle
from edgekit.errors import UsageError
from edgekit.preprocess import Preprocess
from edgekit.preprocess.geometry import Geometry
from edgekit.runtimes.select import load
from edgekit.runtimes.session import Session
from edgekit.tensor import TensorSpec

Array = NDArray[Any]
Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class FrameModel:
    """An open model with one input, which takes uint8 frames, blue first.

    Args:
        session: It runs there.
        spec: Its input, as the source model has it.
        preprocess: From a frame to that input.
        labels: Class names of the bundle, by index.
        name: Of the model.
        fingerprint: Hash of the source model and of its preprocessing: two bundles with the
            same one give the same answers on every target.
    """

    session: Session
    spec: TensorSpec
    preprocess: Preprocess
    labels: tuple[str, ...]
    name: str
    fingerprint: str

    def run(self, frame: Frame) -> dict[str, Array]:
        """Return the outputs, by name, for a frame of shape (height, width, 3)."""
        return self.session.run({self.session.inputs[0].name: frame})

    def place(self, frame: Frame) -> Geometry:
        """Return where a frame lies in the model's input."""
        return self.preprocess.place(frame.shape, self.spec)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the input.

        Raises:
            UsageError: They are not fixed.
        """
        shape = self.spec.shape or ()
        is_planar = self.preprocess.layout.value == "NCHW"
        sides = shape[2:4] if is_planar else shape[1:3]
        height, width = (*sides, None, None)[:2]
        if not isinstance(height, int) or not isinstance(width, int):
            raise UsageError(
                f"input {self.spec.name!r} of {self.name} has shape {self.spec.shape}; convert "
                "it with --shape, so that height and width are fixed"
            )
        return height, width


def open_frame_model(path: Path, *, device: str = "auto", threads: int | None = None) -> FrameModel:
    """Return the model of a bundle, ready to run; close its session after use.

    Args:
        path: A bundle of a model with one input, converted with ``--preprocess``.
        device: As ``edgekit.load`` takes it.
        threads: CPU threads of one call; None leaves it to the engine.

    Raises:
        UsageError: The file is not there, or the model does not take frames.
        BundleError: It cannot be read.
        SessionError: Nothing here can run it.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist; make the bundle with edgekit convert")
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    if len(manifest.inputs) != 1:
        names = ", ".join(spec.name for spec in manifest.inputs)
        raise UsageError(f"{path} has {len(manifest.inputs)} inputs ({names}); one is expected")
    spec = manifest.inputs[0]
    steps = manifest.preprocess.get(spec.name)
    if steps is None:
        raise UsageError(
            f"input {spec.name!r} of {path} has no preprocessing, so a frame cannot become it; "
            "convert the model with --preprocess"
        )
    if steps.frame_colour != "BGR":
        raise UsageError(
            f"{path} takes {steps.frame_colour} frames, and a camera gives BGR; convert the model "
            "without frame= in --preprocess"
        )
    facts = {"source": manifest.source.sha256, "preprocess": steps.to_json()}
    text = json.dumps(facts, sort_keys=True)
    return FrameModel(
        session=load(bundle, device=device, threads=threads),
        spec=spec,
        preprocess=steps,
        labels=bundle.labels,
        name=manifest.name,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
    )
