"""All networks in one form, made here or trained elsewhere: a file to convert, inputs to feed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from networks import NETWORKS, REAL_FOLDER, REAL_MODELS, NetworkCase, graph_inputs, sample_inputs
from networks.trained import TRAINED, picture_input


@dataclass(frozen=True)
class Subject:
    """One network of the table.

    Args:
        name: Unique.
        family: Kind of network; ``"trained"`` for a real model.
        size: ``"small"`` or ``"large"``.
        source: The case that builds it, or its file.
        highest: See ``NetworkCase``.
        shapes: Sizes to fix at conversion, by input.
        judged: See ``NetworkCase``.
        notes: What in it is hard.
    """

    name: str
    family: str
    size: str
    source: NetworkCase | Path
    highest: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    judged: tuple[str, ...] = ()
    notes: str = ""

    def write(self, folder: Path) -> Path:
        """Return its file, written into ``folder`` where it is made here."""
        if isinstance(self.source, Path):
            return self.source
        path = folder / f"{self.name}.onnx"
        if not path.is_file():
            onnx.save(self.source.build(), path)
        return path

    def inputs(self, model: onnx.ModelProto, *, seed: int) -> dict[str, NDArray[np.generic]]:
        """Return one input by name: a picture for a trained model, else seeded noise."""
        how = TRAINED.get(self.name)
        if how is not None:
            picture = picture_input(how, REAL_FOLDER, seed=seed)
            if picture is not None:
                return {graph_inputs(model)[0].name: picture}
        return sample_inputs(model, seed=seed, highest=self.highest, shapes=self.shapes)

    def judge(self, outputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Return the outputs that a conversion must reproduce."""
        return {name: outputs[name] for name in self.judged or outputs}

    def shape_arguments(self) -> list[str]:
        """Return the ``--shape`` options of the command line."""
        return [
            word
            for name, sizes in self.shapes.items()
            for word in ("--shape", f"{name}:{'x'.join(map(str, sizes))}")
        ]


def all_subjects() -> Iterator[Subject]:
    """Yield every network: those built here, then the trained ones that are present."""
    for case in NETWORKS.values():
        yield Subject(
            name=case.name,
            family=case.family,
            size=case.size,
            source=case,
            highest=case.highest,
            shapes=case.shapes,
            judged=case.judged,
            notes=case.notes,
        )
    for name, path in REAL_MODELS.items():
        yield Subject(name, "trained", "small", path, shapes=_open_shapes(name, path))


def _open_shapes(name: str, path: Path) -> dict[str, tuple[int, ...]]:
    how = TRAINED.get(name)
    if how is None or not how.fixes_shape:
        return {}
    model = onnx.load(path, load_external_data=False)
    return {graph_inputs(model)[0].name: how.shape}


def pick_subjects(*, only: list[str] | None, skip_large: bool) -> list[Subject]:
    """Return the networks that were asked for, in the table's order.

    Raises:
        SystemExit: A name is unknown.
    """
    subjects = list(all_subjects())
    unknown = set(only or ()) - {subject.name for subject in subjects}
    if unknown:
        names = ", ".join(subject.name for subject in subjects)
        raise SystemExit(f"no network named {', '.join(sorted(unknown))}; there are: {names}")
    return [
        subject
        for subject in subjects
        if (not only or subject.name in only) and not (skip_large and subject.size == "large")
    ]
