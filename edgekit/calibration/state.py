"""A pass that is under way, as it lies on disk between two runs."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.calibration.tally import BINS, Tally
from edgekit.errors import CalibrationError

STATE_VERSION = 1

_FIGURES = ("minimum", "maximum", "sum_minimum", "sum_maximum")
_NUMBERS = ("count", "samples", "exponent")


@dataclass
class Pass:
    """What one streaming pass has seen so far.

    Args:
        model: SHA-256 of what is measured, hex.
        samples: How many are counted.
        fingerprint: Of those, in their order.
        tallies: By tensor name.
        earlier: The tallies after ``earlier_samples`` of them, about half.
        earlier_samples: How many those are; 0 before the first.
        digests: Of each sample seen, to tell copies; 64 hex digits each.
    """

    model: str
    samples: int = 0
    fingerprint: str = ""
    tallies: dict[str, Tally] = field(default_factory=dict)
    earlier: dict[str, Tally] = field(default_factory=dict)
    earlier_samples: int = 0
    digests: list[str] = field(default_factory=list)

    def keep_earlier(self) -> None:
        """Keep the tallies of now for a comparison with those of the end."""
        self.earlier = {name: tally.copy() for name, tally in self.tallies.items()}
        self.earlier_samples = self.samples

    def save(self, path: Path) -> None:
        """Write the pass beside its final name, then rename it."""
        header = {
            "version": STATE_VERSION,
            "model": self.model,
            "samples": self.samples,
            "fingerprint": self.fingerprint,
            "earlier_samples": self.earlier_samples,
            "digests": self.digests,
            "tallies": list(self.tallies),
            "earlier": list(self.earlier),
        }
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("wb") as file:
            np.savez(
                file,
                header=np.array(json.dumps(header)),
                **_packed("tallies", self.tallies),
                **_packed("earlier", self.earlier),
            )
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path, *, model: str, names: Sequence[str]) -> Pass:
        """Read a pass over this model and these tensors.

        Raises:
            CalibrationError: The file is damaged, or was made from something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                header = json.loads(str(file["header"]))
                stored = {name: file[name] for name in file.files if name != "header"}
            tallies, earlier = (
                _unpacked(kind, header[kind], stored) for kind in ("tallies", "earlier")
            )
            seen = cls(
                model=str(header["model"]),
                samples=int(header["samples"]),
                fingerprint=str(header["fingerprint"]),
                tallies=tallies,
                earlier=earlier,
                earlier_samples=int(header["earlier_samples"]),
                digests=list(map(str, header["digests"])),
            )
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
            raise CalibrationError(
                f"{path} is not the state of a calibration ({error}); delete it to start afresh"
            ) from error
        if header["version"] != STATE_VERSION or seen.model != model or set(tallies) != set(names):
            raise CalibrationError(
                f"{path} belongs to another model or version; delete it to start afresh"
            )
        return seen


def _packed(kind: str, tallies: Mapping[str, Tally]) -> dict[str, Any]:
    if not tallies:
        return {}
    every = list(tallies.values())
    return {
        f"{kind}_counts": np.stack([tally.counts for tally in every]),
        f"{kind}_figures": np.array([[getattr(t, name) for name in _FIGURES] for t in every]),
        f"{kind}_numbers": np.array([[getattr(t, name) for name in _NUMBERS] for t in every]),
    }


def _unpacked(kind: str, names: Sequence[str], stored: Mapping[str, Any]) -> dict[str, Tally]:
    tallies: dict[str, Tally] = {}
    if not names:
        return tallies
    counts = stored[f"{kind}_counts"]
    if counts.shape != (len(names), BINS) or counts.dtype != np.int64:
        raise ValueError(f"counts have shape {counts.shape}")
    for row, name in enumerate(names):
        tally = tallies[name] = Tally()
        tally.counts = counts[row].copy()
        for column, field_name in enumerate(_FIGURES):
            setattr(tally, field_name, float(stored[f"{kind}_figures"][row, column]))
        for column, field_name in enumerate(_NUMBERS):
            setattr(tally, field_name, int(stored[f"{kind}_numbers"][row, column]))
    return tallies
