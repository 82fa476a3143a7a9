"""What goes into a bundle comes out of it, from a folder and from a zip file."""

from __future__ import annotations

import stat
import zipfile
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from bundle_models import (
    FILES,
    GOLDEN,
    KINDS,
    OPENVINO,
    edit_manifest,
    make_manifest,
    write_tiny,
)

from edgekit.bundle import DEFAULT_TOLERANCES, Bundle, Golden, is_bundle, pack_golden, write_bundle
from edgekit.bundle.golden import from_npy, to_npy
from edgekit.bundle.limits import CHUNK_BYTES
from edgekit.errors import BundleError, BundleFormatError, UnsafeBundleError, UsageError
from edgekit.graph import Array
from edgekit.tensor import DType


@pytest.mark.parametrize("kind", KINDS)
def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path, kind: str) -> None:
    written = write_tiny(tmp_path / "model.edgekit", kind)

    assert Bundle.open(tmp_path / "model.edgekit").manifest == written.manifest
    assert make_manifest(files=written.manifest.files) == written.manifest


@pytest.mark.parametrize("kind", KINDS)
def test_goldens_come_back_as_arrays(tmp_path: Path, kind: str) -> None:
    golden = write_tiny(tmp_path / "model.edgekit", kind).goldens()[0]

    np.testing.assert_array_equal(golden.inputs["image"], GOLDEN.inputs["image"])
    np.testing.assert_array_equal(golden.outputs["scores"], GOLDEN.outputs["scores"])
    assert golden.origin == "synthetic, seed 0"


@pytest.mark.parametrize("kind", KINDS)
def test_an_artifact_is_read_by_role(tmp_path: Path, kind: str) -> None:
    bundle = write_tiny(tmp_path / "model.edgekit", kind)

    files = bundle.files(bundle.artifact("openvino-fp32"))

    assert files.read("model") == b"<net/>"
    assert files.read("weights") == FILES["openvino-fp32/model.bin"]


def test_a_folder_gives_paths_and_a_zip_gives_none(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "folder.edgekit", "folder")
    archive = write_tiny(tmp_path / "zip.edgekit", "zip")

    path = folder.files(OPENVINO).path("weights")

    assert path is not None
    assert path.read_bytes() == FILES["openvino-fp32/model.bin"]
    assert archive.files(OPENVINO).path("weights") is None


@pytest.mark.parametrize("kind", KINDS)
def test_all_files_are_verified(tmp_path: Path, kind: str) -> None:
    seen: list[str] = []

    verified = write_tiny(tmp_path / "model.edgekit", kind).verify_files(seen.append)

    assert verified == tuple(seen) == tuple(sorted(FILES))


@pytest.mark.parametrize("kind", KINDS)
def test_the_recorded_hashes_are_those_of_the_contents(tmp_path: Path, kind: str) -> None:
    manifest = write_tiny(tmp_path / "model.edgekit", kind).manifest

    recorded = {path: (record.size, record.sha256) for path, record in manifest.files.items()}

    assert recorded == {path: (len(data), sha256(data).hexdigest()) for path, data in FILES.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_larger_than_one_chunk_is_copied_whole(tmp_path: Path, kind: str) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(np.random.default_rng(0).bytes(2 * CHUNK_BYTES + 12345))

    bundle = write_bundle(
        tmp_path / "model.edgekit",
        make_manifest(),
        {**FILES, "openvino-fp32/model.bin": large},
        folder=kind == "folder",
    )

    assert bundle.files(OPENVINO).read("weights") == large.read_bytes()


def test_equal_contents_give_equal_bytes(tmp_path: Path) -> None:
    backwards = dict(reversed(FILES.items()))

    write_bundle(tmp_path / "a.edgekit", make_manifest(), FILES)
    write_bundle(tmp_path / "b.edgekit", make_manifest(), backwards)

    assert (tmp_path / "a.edgekit").read_bytes() == (tmp_path / "b.edgekit").read_bytes()


def test_a_zip_holds_its_files_stored_and_the_same_as_a_folder(tmp_path: Path) -> None:
    write_tiny(tmp_path / "zip.edgekit", "zip")
    write_tiny(tmp_path / "folder.edgekit", "folder")

    with zipfile.ZipFile(tmp_path / "zip.edgekit") as archive:
        contents = {entry.filename: archive.read(entry) for entry in archive.infolist()}
        methods = {entry.compress_type for entry in archive.infolist()}

    assert methods == {zipfile.ZIP_STORED}
    assert contents == {
        path.relative_to(tmp_path / "folder.edgekit").as_posix(): path.read_bytes()
        for path in (tmp_path / "folder.edgekit").rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_folder_that_the_user_zipped_is_a_bundle(tmp_path: Path, method: int) -> None:
    bundle = write_tiny(tmp_path / "folder.edgekit", "folder")
    with zipfile.ZipFile(tmp_path / "own.zip", "w", method) as archive:
        for path in sorted((tmp_path / "folder.edgekit").rglob("*")):
            archive.write(path, path.relative_to(tmp_path / "folder.edgekit"))

    opened = Bundle.open(tmp_path / "own.zip")

    assert opened.manifest == bundle.manifest
    assert len(opened.verify_files()) == len(FILES)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_keys_of_this_version_are_ignored(tmp_path: Path, kind: str) -> None:
    bundle = write_tiny(tmp_path / "model.edgekit", "folder")
    edit_manifest(
        bundle.location, lambda data: data.replace(b'"labels"', b'"later": [1], "labels"')
    )

    assert Bundle.open(bundle.location).manifest == bundle.manifest


@dataclass(frozen=True)
class NpyCase:
    id: str
    dtype: DType
    array: Array


@pytest.mark.parametrize(
    "case",
    [
        NpyCase("scalar", DType.FLOAT32, np.array(3, np.float32)),
        NpyCase("empty", DType.FLOAT32, np.zeros((0, 3), np.float32)),
        NpyCase("fortran", DType.FLOAT64, np.asfortranarray(np.arange(6.0).reshape(2, 3))),
        NpyCase("big_endian", DType.INT32, np.arange(4, dtype=">i4")),
        NpyCase("bool", DType.BOOL, np.array([True, False])),
        NpyCase("bfloat16", DType.BFLOAT16, np.array([1.5, -2], ml_dtypes.bfloat16)),
        NpyCase("int4", DType.INT4, np.array([-8, 7], ml_dtypes.int4)),
    ],
    ids=lambda case: case.id,
)
def test_an_array_survives_its_file(case: NpyCase) -> None:
    array = from_npy(to_npy(case.array), dtype=case.dtype, path="x.npy")

    assert array.dtype == case.array.dtype
    assert array.shape == case.array.shape
    np.testing.assert_array_equal(array, case.array)
    assert array.flags.writeable


def test_text_does_not_become_a_golden() -> None:
    golden = Golden("words", {"text": np.array(["a"], object)}, {})

    with pytest.raises(ValueError, match="allow_pickle"):
        pack_golden(golden, index=0)


def test_an_unknown_artifact_is_answered_with_the_closest(tmp_path: Path) -> None:
    bundle = write_tiny(tmp_path / "model.edgekit", "zip")

    with pytest.raises(UsageError, match="did you mean 'openvino-fp32'"):
        bundle.artifact("openvino-fp23")


def test_an_unknown_role_is_answered_with_the_roles(tmp_path: Path) -> None:
    bundle = write_tiny(tmp_path / "model.edgekit", "zip")

    with pytest.raises(UsageError, match="choose from: model, weights"):
        bundle.files(OPENVINO).read("wieghts")


def test_a_tolerance_is_found_by_precision_and_backend() -> None:
    tolerance = make_manifest().tolerance("fp32", backend="cpu")

    # The figure: cosine >= 0.99999 in fp32.
    assert tolerance.cosine_min == 0.99999
    assert tolerance.allows(cosine=0.99999, relative_error=1e-3)
    assert not tolerance.allows(cosine=0.99998, relative_error=0)
    assert not tolerance.allows(cosine=float("nan"), relative_error=0)


def test_an_error_below_the_floor_passes_whatever_its_cosine() -> None:
    tolerance = DEFAULT_TOLERANCES["fp32"]["cpu"]

    assert tolerance.allows(cosine=0.5, relative_error=1.0, max_abs_error=9e-7)
    assert not tolerance.allows(cosine=0.5, relative_error=1.0, max_abs_error=2e-6)


def test_a_tolerance_for_an_unknown_backend_is_refused() -> None:
    with pytest.raises(UsageError, match="choose from: cpu, gpu"):
        make_manifest().tolerance("fp32", backend="npu")


def test_an_artifact_without_a_status_is_unverified() -> None:
    assert not make_manifest(status={}).status_of("openvino-fp32").is_verified


@pytest.mark.parametrize("folder", [False, True])
def test_something_else_is_not_replaced(tmp_path: Path, folder: bool) -> None:
    other = tmp_path / "thesis.docx"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("word/document.xml", "years of work")
    before = other.read_bytes()

    with pytest.raises(BundleError, match="is not an EdgeKit bundle, so it is not replaced"):
        write_bundle(other, make_manifest(), FILES, folder=folder)

    assert other.read_bytes() == before
    assert list(tmp_path.iterdir()) == [other]


@pytest.mark.parametrize("folder", [False, True])
def test_a_bundle_folder_that_holds_the_users_own_file_is_not_replaced(
    tmp_path: Path, folder: bool
) -> None:
    bundle = write_tiny(tmp_path / "model.edgekit", "folder")
    (bundle.location / "notes.txt").write_text("mine")

    with pytest.raises(BundleError, match="is not replaced"):
        write_bundle(bundle.location, make_manifest(), FILES, folder=folder)

    assert (bundle.location / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", [*KINDS, "empty folder", "link"])
def test_an_old_bundle_of_any_kind_is_replaced(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "model.edgekit"
    if old == "empty folder":
        path.mkdir()
    elif old == "link":
        path.symlink_to(tmp_path / "aside.edgekit")
        write_tiny(tmp_path / "aside.edgekit", "zip", name="old")
    else:
        write_tiny(path, old, name="old")

    bundle = write_tiny(path, new, name="new")

    assert Bundle.open(path).manifest.name == "new"
    assert path.is_symlink() == (old == "link")
    assert bundle.verify_files()
    assert not [item for item in tmp_path.iterdir() if item.name.startswith(".")]


def test_a_newer_bundle_may_be_replaced_although_it_cannot_be_read(tmp_path: Path) -> None:
    bundle = write_tiny(tmp_path / "model.edgekit", "folder")
    edit_manifest(
        bundle.location,
        lambda data: data.replace(b'"schema_version": 1', b'"schema_version": 2'),
    )

    assert is_bundle(bundle.location)


@dataclass(frozen=True)
class BadPath:
    id: str
    path: str


@pytest.mark.parametrize(
    "case",
    [
        BadPath("parent", "../evil"),
        BadPath("inner_parent", "a/../../evil"),
        BadPath("absolute", "/etc/passwd"),
        BadPath("drive", "C:evil"),
        BadPath("backslash", "a\\evil"),
        BadPath("dot", "./a"),
        BadPath("empty_segment", "a//b"),
        BadPath("trailing_slash", "a/"),
        BadPath("empty", ""),
        BadPath("hidden", ".git/config"),
        BadPath("null", "a\x00b"),
        BadPath("newline", "a\n"),
        BadPath("device", "aux.txt"),
        BadPath("trailing_dot", "a."),
        BadPath("look_alike", "m\u043edel"),
        BadPath("long", "a" * 300),
        BadPath("deep", "/".join("abcdefghijk")),
        BadPath("manifest", "manifest.json"),
        BadPath("manifest_in_capitals", "MANIFEST.json"),
        BadPath("same_in_capitals", "OPENVINO-fp32/model.xml"),
        BadPath("file_and_folder", "openvino-fp32/model.xml/more"),
    ],
    ids=lambda case: case.id,
)
def test_a_path_that_some_system_reads_differently_is_not_written(
    tmp_path: Path, case: BadPath
) -> None:
    with pytest.raises(UnsafeBundleError):
        write_bundle(tmp_path / "model.edgekit", make_manifest(), {**FILES, case.path: b""})

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_manifest_names_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(BundleFormatError, match="names 'openvino-fp32/model"):
        write_bundle(tmp_path / "model.edgekit", make_manifest(), {})

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_file_that_is_gone_leaves_the_old_bundle(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.edgekit"
    write_tiny(path, kind, name="old")
    files = {**FILES, "openvino-fp32/model.bin": tmp_path / "gone"}

    with pytest.raises(BundleError, match="No such file"):
        write_bundle(path, make_manifest(name="new"), files, folder=kind == "folder")

    assert Bundle.open(path).manifest.name == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_recipe_that_is_not_json_is_refused_before_the_old_bundle_goes(tmp_path: Path) -> None:
    path = tmp_path / "model.edgekit"
    write_tiny(path, "zip", name="old")
    odd = make_manifest(
        artifacts=(replace(OPENVINO, recipe={"x": float("nan")}),), status={}, parity=()
    )

    with pytest.raises(BundleFormatError, match="not JSON-ready"):
        write_bundle(path, odd, FILES)

    assert Bundle.open(path).manifest.name == "old"


def test_a_zip_is_readable_by_others_as_the_umask_says(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    bundle = write_tiny(tmp_path / "model.edgekit", "zip")

    assert stat.S_IMODE(bundle.location.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
