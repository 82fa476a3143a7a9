"""What has to hold between the parts of a manifest, whoever wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgekit.bundle.limits import (
    MANIFEST_NAME,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_GOLDEN_BYTES,
    MAX_TOTAL_BYTES,
)
from edgekit.bundle.paths import check_path, check_unique
from edgekit.errors import BundleFormatError, UnsafeBundleError

if TYPE_CHECKING:
    from edgekit.bundle.manifest import Manifest

_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


def check_manifest(manifest: Manifest) -> None:
    """Check that the parts agree.

    Raises:
        BundleFormatError: They do not; the message has the JSON path.
        UnsafeBundleError: A path leads outside, or the sizes are over the limits.
    """
    _check_names(manifest)
    _check_artifacts(manifest)
    _check_goldens(manifest)
    _check_claims(manifest)
    _check_contract(manifest)
    _check_files(manifest)


def _fault(path: str, said: str) -> BundleFormatError:
    return BundleFormatError(f"manifest.json is malformed: {path}: {said}")


def _check_names(manifest: Manifest) -> None:
    if not manifest.name:
        raise _fault("$.name", "it is empty; expected the model's name")
    if not _DATE.fullmatch(manifest.created):
        raise _fault("$.created", f"{manifest.created[:80]!r} is not like 2026-01-31T12:00:00Z")
    _check_distinct("$.inputs", (spec.name for spec in manifest.inputs))
    _check_distinct("$.outputs", (spec.name for spec in manifest.outputs))
    _check_known("$.preprocess", manifest.preprocess, [spec.name for spec in manifest.inputs])


def _check_artifacts(manifest: Manifest) -> None:
    _check_distinct("$.artifacts", (artifact.name for artifact in manifest.artifacts))
    inputs = [spec.name for spec in manifest.inputs]
    outputs = [spec.name for spec in manifest.outputs]
    for index, artifact in enumerate(manifest.artifacts):
        path = f"$.artifacts[{index}]"
        if "model" not in artifact.files:
            raise _fault(f"{path}.files", "it has no role 'model', the file to open")
        _check_known(f"{path}.inputs", (spec.name for spec in artifact.inputs), inputs)
        _check_known(f"{path}.outputs", (spec.name for spec in artifact.outputs), outputs)
        _check_distinct(f"{path}.inputs", (spec.name for spec in artifact.inputs))
        _check_distinct(f"{path}.outputs", (spec.name for spec in artifact.outputs))
        _check_known(f"{path}.fused_preprocess", artifact.fused_preprocess, manifest.preprocess)


def _check_goldens(manifest: Manifest) -> None:
    for index, golden in enumerate(manifest.goldens):
        path = f"$.goldens[{index}]"
        _check_known(f"{path}.inputs", golden.inputs, [spec.name for spec in manifest.inputs])
        _check_known(f"{path}.outputs", golden.outputs, [spec.name for spec in manifest.outputs])
        if not golden.outputs:
            raise _fault(f"{path}.outputs", "it is empty; a golden without outputs proves nothing")


def _check_claims(manifest: Manifest) -> None:
    """Check that what is called verified has figures, and that they are within its tolerance."""
    artifacts = {artifact.name: artifact for artifact in manifest.artifacts}
    _check_known("$.status", manifest.status, artifacts)
    _check_known("$.parity", (figures.artifact for figures in manifest.parity), artifacts)
    outputs = [spec.name for spec in manifest.outputs]
    _check_known("$.parity", (figures.output for figures in manifest.parity), outputs)
    for name, status in manifest.status.items():
        measured = [figures for figures in manifest.parity if figures.artifact == name]
        if not status.is_verified:
            continue
        if not measured:
            raise _fault(
                f"$.status[{name!r}]",
                "it is called verified, but $.parity has no figures of it; call it unverified",
            )
        for figures in measured:
            limits = manifest.tolerances.get(artifacts[name].precision, {}).get(figures.backend)
            if limits is None or not limits.allows(
                cosine=figures.cosine,
                relative_error=figures.relative_error,
                max_abs_error=figures.max_abs_error,
            ):
                raise _fault(
                    f"$.status[{name!r}]",
                    f"it is called verified, but on {figures.runtime} its output "
                    f"{figures.output!r} has cosine {figures.cosine} and relative error "
                    f"{figures.relative_error}, and its tolerance is {limits}",
                )


def _check_contract(manifest: Manifest) -> None:
    """Check that every figure is of an artifact and keeps the promise."""
    contract = manifest.contract
    if contract is None:
        return
    path = "$.contract.figures"
    artifacts = [artifact.name for artifact in manifest.artifacts]
    _check_known(path, (figure.artifact for figure in contract.figures), artifacts)
    _check_distinct(path, (figure.artifact for figure in contract.figures))
    for index, figure in enumerate(contract.figures):
        if not contract.allows(figure.lost):
            raise _fault(
                f"{path}[{index}]",
                f"{figure.artifact} lost {figure.lost}, and {contract.limit} is promised",
            )


def _check_files(manifest: Manifest) -> None:
    for path in manifest.referenced_paths:
        check_path(path)
    if not manifest.files:
        return  # before writing: the writer fills them, and what it writes is checked again
    for path in manifest.files:
        check_path(path)
    check_unique((MANIFEST_NAME, *manifest.files))
    _check_known("$.files", manifest.referenced_paths, manifest.files, missing_from=True)
    sizes = {path: record.size for path, record in manifest.files.items()}
    goldens = {path for golden in manifest.goldens for path in golden.paths}
    largest = max(sizes, key=lambda path: sizes[path])
    check_limit(len(sizes), MAX_FILES, what="the number of files")
    check_limit(sizes[largest], MAX_FILE_BYTES, what=f"the size of {largest!r}")
    check_limit(sum(sizes.values()), MAX_TOTAL_BYTES, what="the size of all files")
    golden_bytes = sum(sizes[path] for path in goldens)
    check_limit(golden_bytes, MAX_GOLDEN_BYTES, what="the size of all goldens")


def check_limit(value: int, limit: int, *, what: str) -> None:
    """Check that a size is within its limit.

    Raises:
        UnsafeBundleError: It is over it.
    """
    if value > limit:
        raise UnsafeBundleError(
            f"{what} is {value}, over the limit of {limit}; no real bundle is so large: "
            "do not use one from a source that you do not trust"
        )


def _check_distinct(path: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _fault(path, f"the name {name[:80]!r} is there twice")
        seen.add(name)


def _check_known(
    path: str, names: Iterable[str], known: Iterable[str], *, missing_from: bool = False
) -> None:
    there = set(known)
    for name in names:
        if name not in there:
            said = "it lacks" if missing_from else "there is no"
            raise _fault(path, f"{said} {name[:80]!r}; there is: {', '.join(sorted(there))[:200]}")
