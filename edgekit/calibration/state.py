"""A pass that is under way, as it lies on disk between two runs."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.calibration.tally import ARRAYS, Seen, Tallies
from edgekit.errors import CalibrationError

STATE_VERSION = 2


@dataclass
class Pass:
    """What one streaming pass has seen so far; always after a whole sample.

    Args:
        model: SHA-256 of what is measured, hex.
        tallies: Of every tensor.
        samples: How many are counted.
        fingerprint: Of those, in their order.
        earlier: The tallies after ``earlier_samples`` of them, about half; None before.
        earlier_samples: How many those are; 0 before the first.
        digests: Of each sample seen, to tell copies; 64 hex digits each.
    """

    model: str
    tallies: Tallies
    samples: int = 0
    fingerprint: str = ""
    earlier: Tallies | None = None
    earlier_samples: int = 0
    digests: list[str] = field(default_factory=list)

    def add(self, seen: Seen, *, digest: str, fingerprint: str, keeps_earlier: bool) -> None:
        """Add one sample.

        Args:
            seen: Its values, counted.
            digest: Of its bytes, hex.
            fingerprint: Of the samples up to this one.
            keeps_earlier: Whether to keep the tallies of now for a comparison with the end.
        """
        self.tallies.add(seen)
        self.samples += 1
        self.fingerprint = fingerprint
        self.digests.append(digest)
        if keeps_earlier:
            self.earlier, self.earlier_samples = self.tallies.copy(), self.samples

    def save(self, path: Path) -> None:
        """Write the pass beside its final name, then rename it."""
        header = {
            "version": STATE_VERSION,
            "model": self.model,
            "names": self.tallies.names,
            "samples": self.samples,
            "fingerprint": self.fingerprint,
            "earlier_samples": self.earlier_samples,
            "digests": self.digests,
        }
        temporary = _temporary(path)
        with temporary.open("wb") as file:
            np.savez(
                file,
                header=np.array(json.dumps(header)),
                **_packed("tallies", self.tallies),
                **({} if self.earlier is None else _packed("earlier", self.earlier)),
            )
        temporary.replace(path)

    @staticmethod
    def remove(path: Path) -> None:
        """Delete the state, and what a killed process left of one."""
        path.unlink(missing_ok=True)
        _temporary(path).unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path, *, model: str, names: Sequence[str]) -> Pass:
        """Read a pass over this model and these tensors.

        Raises:
            CalibrationError: The file is damaged, or was made from something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                header = json.loads(str(file["header"]))
                if (header["version"], header["model"]) != (STATE_VERSION, model) or (
                    header["names"] != list(names)
                ):
                    raise CalibrationError(
                        f"{path} belongs to another model or version; delete it to start afresh"
                    )
                has_earlier = header["earlier_samples"] > 0
                return cls(
                    model=model,
                    tallies=_unpacked("tallies", names, file),
                    samples=int(header["samples"]),
                    fingerprint=str(header["fingerprint"]),
                    earlier=_unpacked("earlier", names, file) if has_earlier else None,
                    earlier_samples=int(header["earlier_samples"]),
                    digests=list(map(str, header["digests"])),
                )
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
            raise CalibrationError(
                f"{path} is not the state of a calibration ({error}); delete it to start afresh"
            ) from error


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _packed(kind: str, tallies: Tallies) -> dict[str, Any]:
    return {f"{kind}_{name}": getattr(tallies, name) for name in ARRAYS}


def _unpacked(kind: str, names: Sequence[str], stored: Mapping[str, Any]) -> Tallies:
    tallies = Tallies(names)
    for name in ARRAYS:
        array, empty = stored[f"{kind}_{name}"], getattr(tallies, name)
        if (array.shape, array.dtype) != (empty.shape, empty.dtype):
            raise ValueError(f"{name} is {array.dtype} of shape {array.shape}")
        setattr(tallies, name, array)
    return tallies
