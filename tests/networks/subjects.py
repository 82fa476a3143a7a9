"""All networks in one form, made here or trained elsewhere: a file to convert, inputs to feed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from networks import NETWORKS, REAL_MODELS, NetworkCase

# Sizes for the trained models whose file leaves them open; each is what its authors run.
REAL_SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "yunet_n_dynamic": {"input": (1, 3, 320, 320)},
    "ch_ppocr_mobile_v2.0_cls_infer": {"x": (1, 3, 48, 192)},
}


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
        notes: What in it is hard.
    """

    name: str
    family: str
    size: str
    source: NetworkCase | Path
    highest: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    notes: str = ""

    def write(self, folder: Path) -> Path:
        """Return its file, written into ``folder`` where it is made here."""
        if isinstance(self.source, Path):
            return self.source
        path = folder / f"{self.name}.onnx"
        if not path.is_file():
            onnx.save(self.source.build(), path)
        return path

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
            case.name, case.family, case.size, case, case.highest, case.shapes, case.notes
        )
    for name, path in REAL_MODELS.items():
        yield Subject(name, "trained", "small", path, shapes=REAL_SHAPES.get(name, {}))


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
