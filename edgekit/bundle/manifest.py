"""The manifest: everything that a bundle says about itself. docs/bundle.md tells the schema."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekit._version import __version__
from edgekit.artifact import Artifact
from edgekit.bundle.check import check_manifest
from edgekit.bundle.contract import Contract
from edgekit.bundle.fields import Field, parse_json
from edgekit.bundle.limits import FORMAT, SCHEMA_VERSION
from edgekit.bundle.paths import check_path
from edgekit.bundle.records import UNVERIFIED, FileRecord, GoldenFiles, Parity, Source, Status
from edgekit.bundle.specs import read_artifact, read_spec
from edgekit.bundle.tolerance import DEFAULT_TOLERANCES, Tolerance, Tolerances
from edgekit.errors import BundleVersionError, UsageError
from edgekit.preprocess import Preprocess
from edgekit.registry import unknown_name
from edgekit.tensor import TensorSpec


def utc_now() -> str:
    """Return the time as ``"2026-01-31T12:00:00Z"``, or SOURCE_DATE_EPOCH's where it is set.

    Source: reproducible-builds.org, SOURCE_DATE_EPOCH specification.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    seconds = int(epoch) if epoch.isdecimal() else time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@dataclass(frozen=True)
class Manifest:
    """What the bundle holds, where it comes from, and what was shown about it.

    Args:
        name: Of the model.
        source: The model that was converted.
        inputs: As the source model has them: names, dtypes, shapes, layouts.
        outputs: Likewise.
        artifacts: What runtimes load; names are unique.
        preprocess: From a frame to an input, by input name.
        labels: Class names, by index.
        goldens: Runs of the source model to replay.
        tolerances: How far a runtime may be from the goldens.
        parity: Figures measured on the converting machine or later.
        status: By artifact name; an artifact without one is unverified.
        tools: Version by name of what took part in the conversion.
        calibration: Fingerprint of the ranges that integers were made from; None without any.
        contract: What a quantized model promised and measured; None without any.
        files: Every file but the manifest, by path; ``write_bundle`` fills it.
        created: UTC, ``"2026-01-31T12:00:00Z"``.
        edgekit_version: Of the EdgeKit that wrote it.

    Raises:
        BundleFormatError: The parts contradict each other.
    """

    name: str
    source: Source
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    artifacts: tuple[Artifact, ...]
    preprocess: Mapping[str, Preprocess] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    goldens: tuple[GoldenFiles, ...] = ()
    tolerances: Tolerances = field(default_factory=lambda: DEFAULT_TOLERANCES)
    parity: tuple[Parity, ...] = ()
    status: Mapping[str, Status] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    calibration: str | None = None
    contract: Contract | None = None
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    created: str = field(default_factory=utc_now)
    edgekit_version: str = __version__

    def __post_init__(self) -> None:
        check_manifest(self)

    @property
    def referenced_paths(self) -> tuple[str, ...]:
        """The files that artifacts and goldens are made of, each once."""
        paths = [path for artifact in self.artifacts for path in artifact.files.values()]
        paths += [path for golden in self.goldens for path in golden.paths]
        if self.contract is not None and self.contract.ranges:
            paths.append(self.contract.ranges)
        return tuple(dict.fromkeys(paths))

    def status_of(self, artifact: str) -> Status:
        """Return whether the artifact of that name was shown to be right."""
        return self.status.get(artifact, Status(UNVERIFIED, "the manifest does not say"))

    def tolerance(self, precision: str, *, backend: str) -> Tolerance:
        """Return how far an artifact of that precision may be on that class of backend.

        Raises:
            UsageError: The manifest has none for it.
        """
        backends = self.tolerances.get(precision)
        if backends is None:
            raise UsageError(unknown_name(precision, tuple(self.tolerances), kind="precision"))
        if backend not in backends:
            raise UsageError(unknown_name(backend, tuple(backends), kind="backend class"))
        return backends[backend]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict, always in the same order."""
        return {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "created": self.created,
            "edgekit_version": self.edgekit_version,
            "source": self.source.to_json(),
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "preprocess": {name: steps.to_json() for name, steps in self.preprocess.items()},
            "labels": list(self.labels),
            "artifacts": [artifact.to_json() for artifact in self.artifacts],
            "status": {name: status.to_json() for name, status in self.status.items()},
            "parity": [figures.to_json() for figures in self.parity],
            "goldens": [golden.to_json() for golden in self.goldens],
            "tolerances": {
                precision: {backend: limits.to_json() for backend, limits in backends.items()}
                for precision, backends in self.tolerances.items()
            },
            "tools": dict(sorted(self.tools.items())),
            "calibration": self.calibration,
            "contract": None if self.contract is None else self.contract.to_json(),
            "files": {path: record.to_json() for path, record in sorted(self.files.items())},
        }

    def to_bytes(self) -> bytes:
        """Return the content of ``manifest.json``.

        Raises:
            ValueError, TypeError: A recipe is not JSON-ready.
        """
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8") + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read the content of ``manifest.json``.

        Raises:
            BundleFormatError: It is malformed; the message has the JSON path.
            BundleVersionError: A newer EdgeKit wrote it.
            UnsafeBundleError: It names a path outside the bundle, or is over the limits.
        """
        root = parse_json(data)
        _check_version(root)
        calibration, contract = root.maybe("calibration"), root.maybe("contract")
        return cls(
            name=root.key("name").text(),
            created=root.key("created").text(),
            edgekit_version=root.key("edgekit_version").text(),
            source=Source.read(root.key("source")),
            inputs=tuple(read_spec(item) for item in root.key("inputs").each()),
            outputs=tuple(read_spec(item) for item in root.key("outputs").each()),
            preprocess=_read_preprocess(root.key("preprocess")),
            labels=tuple(item.text() for item in root.key("labels").each()),
            artifacts=tuple(read_artifact(item) for item in root.key("artifacts").each()),
            status={name: Status.read(item) for name, item in root.key("status").pairs().items()},
            parity=tuple(Parity.read(item) for item in root.key("parity").each()),
            goldens=tuple(GoldenFiles.read(item) for item in root.key("goldens").each()),
            tolerances={
                precision: {name: Tolerance.read(item) for name, item in backends.pairs().items()}
                for precision, backends in root.key("tolerances").pairs().items()
            },
            tools={name: item.text() for name, item in root.key("tools").pairs().items()},
            calibration=None if calibration is None else calibration.text(),
            contract=None if contract is None else Contract.read(contract),
            files={
                check_path(path): FileRecord.read(item)
                for path, item in root.key("files").pairs().items()
            },
        )


def _check_version(root: Field) -> None:
    if root.key("format").value != FORMAT:
        raise root.key("format").fault(f"{FORMAT!r}: this is no EdgeKit bundle")
    version = root.key("schema_version").whole()
    if version < 1:
        raise root.key("schema_version").fault("1 or more")
    if version > SCHEMA_VERSION:
        writer = root.maybe("edgekit_version")
        by = "a newer one" if writer is None else repr(writer.value)[:80]
        raise BundleVersionError(
            f"the bundle has schema version {version}, written by EdgeKit {by}; this EdgeKit "
            f"{__version__} reads schema version {SCHEMA_VERSION} and older; run: "
            "pip install --upgrade edgekit, or convert the model with this version"
        )


def _read_preprocess(root: Field) -> dict[str, Preprocess]:
    def read(item: Field) -> Preprocess:
        return item.make(lambda: Preprocess.from_json(item.value))

    return {name: read(item) for name, item in root.pairs().items()}
