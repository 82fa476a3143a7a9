"""The parts of a manifest that are plain facts: source, files, goldens, figures, status."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.bundle.fields import Field
from edgekit.bundle.paths import check_path

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)

VERIFIED = "verified"
UNVERIFIED = "unverified"
SIMULATED = "simulated"


@dataclass(frozen=True)
class Source:
    """The model that was converted.

    Args:
        file_name: Name of its file, without folders.
        sha256: Of its main file, 64 hexadecimal digits.
        framework: What wrote it, such as ``"pytorch 2.13.0"``; ``""`` where unknown.
        opset: Of standard ONNX, as the file had it; None where there is none.
    """

    file_name: str
    sha256: str
    framework: str = ""
    opset: int | None = None

    def __post_init__(self) -> None:
        if not self.file_name or "/" in self.file_name or "\\" in self.file_name:
            raise ValueError(f"source {self.file_name!r} is not a file name without folders")
        check_sha256(self.sha256)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "file_name": self.file_name,
            "sha256": self.sha256,
            "framework": self.framework,
            "opset": self.opset,
        }

    @classmethod
    def read(cls, field: Field) -> Source:
        """Read what ``to_json`` wrote."""
        opset = field.maybe("opset")
        arguments = {
            "file_name": field.key("file_name").text(),
            "sha256": field.key("sha256").text(),
            "framework": field.key("framework").text(),
        }
        number = None if opset is None else opset.whole()
        return field.make(lambda: cls(**arguments, opset=number))


@dataclass(frozen=True)
class FileRecord:
    """What a file of the bundle must be.

    Args:
        size: Bytes.
        sha256: 64 hexadecimal digits.
    """

    size: int
    sha256: str

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size {self.size} is negative")
        check_sha256(self.sha256)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {"size": self.size, "sha256": self.sha256}

    @classmethod
    def read(cls, field: Field) -> FileRecord:
        """Read what ``to_json`` wrote."""
        size, sha256 = field.key("size").whole(), field.key("sha256").text()
        return field.make(lambda: cls(size, sha256))


@dataclass(frozen=True)
class GoldenFiles:
    """One run of the source model: where its inputs and outputs lie in the bundle.

    Args:
        origin: Where the input comes from: ``"synthetic, seed 0"``, ``"photo.jpg"``.
        inputs: Path of a ``.npy`` file by input name.
        outputs: Likewise by output name.
    """

    origin: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    @property
    def paths(self) -> tuple[str, ...]:
        """All its files."""
        return (*self.inputs.values(), *self.outputs.values())

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "origin": self.origin,
            "inputs": dict(self.inputs),
            "outputs": dict(self.outputs),
        }

    @classmethod
    def read(cls, field: Field) -> GoldenFiles:
        """Read what ``to_json`` wrote."""
        inputs, outputs = (
            {name: check_path(path.text()) for name, path in field.key(key).pairs().items()}
            for key in ("inputs", "outputs")
        )
        return cls(field.key("origin").text(), inputs, outputs)


@dataclass(frozen=True)
class Parity:
    """How one output of an artifact compared with the source model's: the worst of all samples.

    Args:
        artifact: Its name.
        output: Name of the output.
        runtime: Name in ``RUNTIMES``.
        runtime_version: Of the vendor's library.
        backend: Class of the device, ``"cpu"`` or ``"gpu"``; picks the tolerance.
        cosine: Least cosine.
        max_abs_error: Largest absolute error, in the output's own units.
        relative_error: That over the output's largest absolute value.
        sqnr_db: Least signal-to-noise ratio; infinity for equal outputs.
        inference_precision: What the runtime computed in, such as ``"fp32"``.
        date: When, UTC: ``"2026-01-31T12:00:00Z"``.
    """

    artifact: str
    output: str
    runtime: str
    runtime_version: str
    cosine: float
    max_abs_error: float
    relative_error: float
    sqnr_db: float
    inference_precision: str
    date: str
    backend: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("cosine", "max_abs_error", "relative_error"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} {getattr(self, name)} is not finite: nothing was shown")
        if math.isnan(self.sqnr_db) or self.sqnr_db == -math.inf:
            raise ValueError(f"sqnr_db {self.sqnr_db} is no measurement")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict; ``sqnr_db`` is null for infinity, which JSON lacks."""
        return {
            "artifact": self.artifact,
            "output": self.output,
            "runtime": self.runtime,
            "runtime_version": self.runtime_version,
            "backend": self.backend,
            "cosine": self.cosine,
            "max_abs_error": self.max_abs_error,
            "relative_error": self.relative_error,
            "sqnr_db": None if math.isinf(self.sqnr_db) else self.sqnr_db,
            "inference_precision": self.inference_precision,
            "date": self.date,
        }

    @classmethod
    def read(cls, field: Field) -> Parity:
        """Read what ``to_json`` wrote."""
        sqnr = field.maybe("sqnr_db")
        texts = (
            "artifact", "output", "runtime", "runtime_version", "backend",
            "inference_precision", "date",
        )  # fmt: skip
        numbers = ("cosine", "max_abs_error", "relative_error")
        arguments: dict[str, Any] = {name: field.key(name).text() for name in texts}
        arguments |= {name: field.key(name).number() for name in numbers}
        arguments["sqnr_db"] = math.inf if sqnr is None else sqnr.number()
        return field.make(lambda: cls(**arguments))


@dataclass(frozen=True)
class Status:
    """Whether an artifact was run and agreed.

    Args:
        state: ``"verified"``; ``"unverified"``: it is there, nobody has shown that it is right;
            or ``"simulated"``: its graph was run by another runtime than its own.
        reason: Why it is not verified; never empty then.
    """

    state: str
    reason: str = ""

    def __post_init__(self) -> None:
        states = (VERIFIED, UNVERIFIED, SIMULATED)
        if self.state not in states:
            raise ValueError(f"status {self.state!r} is none of {', '.join(states)}")
        if self.state != VERIFIED and not self.reason:
            raise ValueError(f"an artifact that is {self.state} needs the reason why")

    @property
    def is_verified(self) -> bool:
        """Whether it was run and agreed."""
        return self.state == VERIFIED

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {"state": self.state, "reason": self.reason}

    @classmethod
    def read(cls, field: Field) -> Status:
        """Read what ``to_json`` wrote."""
        reason = field.maybe("reason")
        state, text = field.key("state").text(), "" if reason is None else reason.text()
        return field.make(lambda: cls(state, text))


def check_sha256(text: str) -> None:
    """Check that a text is a SHA-256 hash.

    Raises:
        ValueError: It is not.
    """
    if not _SHA256.fullmatch(text):
        raise ValueError(f"sha256 {text[:80]!r} is not 64 lower-case hexadecimal digits")
