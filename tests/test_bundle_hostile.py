"""A bundle comes from anywhere: what is damaged or hostile is refused with a reason."""

from __future__ import annotations

import json
import os
import struct
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from bundle_models import FILES, KINDS, OPENVINO, edit_manifest, write_tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.bundle import Bundle, limits, zip_store
from edgekit.bundle.golden import from_npy
from edgekit.errors import (
    BundleError,
    BundleFormatError,
    BundleIntegrityError,
    EdgeKitError,
    UnsafeBundleError,
)
from edgekit.tensor import DType


@pytest.fixture(scope="module")
def whole_zip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "model.edgekit"
    return write_tiny(path, "zip").location.read_bytes()


def zip_with(path: Path, *extra: tuple[zipfile.ZipInfo, bytes]) -> Path:
    """Write a good bundle, then more entries, as an attacker's own tool would."""
    write_tiny(path, "zip")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile warns of duplicates
        with zipfile.ZipFile(path, "a") as archive:
            for entry, data in extra:
                archive.writestr(entry, data)
    return path


def read_all(path: Path) -> None:
    bundle = Bundle.open(path)
    bundle.verify_files()
    bundle.goldens()


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/etc/cron.d/evil",
        "C:\\evil",
        "..\\evil",
        "con",
        "a\x00b",
        "goldens/0/INPUT.0.npy",
        "openvino-fp32/model.bin",
        "Manifest.json",
        "manifest.json/x",
    ],
)
def test_a_zip_entry_that_leads_outside_or_is_there_twice_is_refused(
    tmp_path: Path, name: str
) -> None:
    entry = zipfile.ZipInfo("x")
    entry.filename = entry.orig_filename = name  # past the clean-up of ZipInfo
    path = zip_with(tmp_path / "model.edgekit", (entry, b"x"))

    with pytest.raises(UnsafeBundleError):
        Bundle.open(path)


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("link")
    entry.create_system = 3
    entry.external_attr = 0o120777 << 16
    path = zip_with(tmp_path / "model.edgekit", (entry, b"/etc/passwd"))

    with pytest.raises(UnsafeBundleError, match="link or device"):
        Bundle.open(path)


def test_a_zip_method_that_unpacks_without_bound_is_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("x")
    entry.compress_type = zipfile.ZIP_LZMA
    path = zip_with(tmp_path / "model.edgekit", (entry, bytes(1000)))

    with pytest.raises(UnsafeBundleError, match="method 14"):
        Bundle.open(path)


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "model.edgekit", "zip").location
    data = bytearray(path.read_bytes())
    # The flags are at byte 8 of a directory record. Source: PKWARE APPNOTE, section 4.3.12.
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)

    with pytest.raises(UnsafeBundleError, match="encrypted"):
        Bundle.open(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("zeros")
    entry.compress_type = zipfile.ZIP_DEFLATED
    path = zip_with(tmp_path / "model.edgekit", (entry, bytes(20 * limits.MIB)))

    with pytest.raises(UnsafeBundleError, match="zip bomb"):
        Bundle.open(path)


def test_a_header_that_lies_about_the_size_does_not_make_the_reader_read_more(
    tmp_path: Path,
) -> None:
    folder = write_tiny(tmp_path / "folder.edgekit", "folder").location
    path = tmp_path / "model.edgekit"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for item in sorted(folder.rglob("*.*")):
            content = item.read_bytes()
            is_bomb = item.name == "model.bin"
            archive.writestr(
                item.relative_to(folder).as_posix(), bytes(8 * limits.MIB) if is_bomb else content
            )
    data = bytearray(path.read_bytes())
    # Uncompressed size of the directory record, byte 24; the manifest says 1024 bytes.
    record = next(
        at
        for at in find_all(data, b"PK\x01\x02")
        if data[at + 46 :].startswith(b"openvino-fp32/model.bin")
    )
    struct.pack_into("<I", data, record + 24, 1024)
    path.write_bytes(data)
    bundle = Bundle.open(path)

    with pytest.raises(BundleError):
        bundle.files(OPENVINO).read("weights")


def find_all(data: bytearray, what: bytes) -> list[int]:
    return [at for at in range(len(data)) if data.startswith(what, at)]


def test_too_many_zip_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tiny(tmp_path / "model.edgekit", "zip").location
    monkeypatch.setattr(zip_store, "MAX_FILES", 2)

    with pytest.raises(UnsafeBundleError, match="number of entries"):
        Bundle.open(path)


def test_a_zip_directory_that_says_it_is_huge_is_not_read_whole(tmp_path: Path) -> None:
    size = limits.MAX_DIRECTORY_BYTES + 1000
    path = tmp_path / "model.edgekit"
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, size, 0, 0)
    path.write_bytes(bytes(size) + end)

    with pytest.raises(UnsafeBundleError, match="zip directory"):
        Bundle.open(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_in_the_manifest_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.edgekit"
    if kind == "zip":
        zip_with(path, (zipfile.ZipInfo("extra.txt"), b"x"))
    else:
        (write_tiny(path, kind).location / "extra.txt").write_text("x")

    with pytest.raises(BundleIntegrityError, match=r"'extra\.txt', which its manifest does not"):
        Bundle.open(path)


@dataclass(frozen=True)
class Odd:
    """Something in a folder bundle that is no plain file."""

    id: str
    make: Callable[[Path], None]


def replace_by_link_outside(folder: Path) -> None:
    (folder / "openvino-fp32/model.bin").unlink()
    (folder / "openvino-fp32/model.bin").symlink_to("/etc/hostname")


def replace_by_link_inside(folder: Path) -> None:
    (folder / "openvino-fp32/model.bin").unlink()
    (folder / "openvino-fp32/model.bin").symlink_to(folder / "openvino-fp32/model.xml")


def replace_folder_by_link(folder: Path) -> None:
    moved = folder.with_name("moved")
    (folder / "openvino-fp32").rename(moved)
    (folder / "openvino-fp32").symlink_to(moved)


def replace_by_fifo(folder: Path) -> None:
    (folder / "openvino-fp32/model.bin").unlink()
    os.mkfifo(folder / "openvino-fp32/model.bin")


ODD = [
    Odd("link_outside", replace_by_link_outside),
    Odd("link_inside", replace_by_link_inside),
    Odd("linked_folder", replace_folder_by_link),
    Odd("fifo", replace_by_fifo),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.id)
def test_a_folder_with_a_link_or_device_is_refused(tmp_path: Path, odd: Odd) -> None:
    bundle = write_tiny(tmp_path / "model.edgekit", "folder")
    odd.make(bundle.location)

    with pytest.raises(UnsafeBundleError, match="link or device"):
        Bundle.open(bundle.location)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.id)
def test_a_link_that_appears_after_opening_is_not_followed(tmp_path: Path, odd: Odd) -> None:
    bundle = write_tiny(tmp_path / "model.edgekit", "folder")
    odd.make(bundle.location)

    with pytest.raises(BundleError):
        bundle.files(OPENVINO).read("weights")


def test_a_folder_bundle_may_be_reached_through_a_link(tmp_path: Path) -> None:
    bundle = write_tiny(tmp_path / "model-3.edgekit", "folder")
    (tmp_path / "latest.edgekit").symlink_to(bundle.location)

    assert Bundle.open(tmp_path / "latest.edgekit").files(OPENVINO).read("model") == b"<net/>"


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_named_with_both_hashes(tmp_path: Path, kind: str) -> None:
    bundle = write_tiny(tmp_path / "model.edgekit", kind)
    original = FILES["openvino-fp32/model.bin"]
    changed = b"\xff" + original[1:]
    path = bundle.location if kind == "zip" else bundle.location / "openvino-fp32/model.bin"
    path.write_bytes(path.read_bytes().replace(original, changed))

    with pytest.raises(BundleIntegrityError, match=r"'openvino-fp32/model\.bin'") as caught:
        Bundle.open(bundle.location).files(OPENVINO).read("weights")

    assert sha256(original).hexdigest() in str(caught.value)
    assert sha256(changed).hexdigest() in str(caught.value)


def test_a_changed_file_has_no_path_either(tmp_path: Path) -> None:
    bundle = write_tiny(tmp_path / "model.edgekit", "folder")
    (bundle.location / "openvino-fp32/model.xml").write_bytes(b"<nut/>")

    with pytest.raises(BundleIntegrityError):
        bundle.files(OPENVINO).path("model")


@pytest.mark.parametrize("change", [b"<net/", b"<net/>>"], ids=["shorter", "longer"])
def test_a_file_of_another_size_is_found_at_opening(tmp_path: Path, change: bytes) -> None:
    bundle = write_tiny(tmp_path / "model.edgekit", "folder")
    (bundle.location / "openvino-fp32/model.xml").write_bytes(change)

    with pytest.raises(BundleIntegrityError, match=r"'openvino-fp32/model\.xml'"):
        Bundle.open(bundle.location)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_file_is_named(tmp_path: Path, kind: str) -> None:
    folder = write_tiny(tmp_path / "folder.edgekit", "folder").location
    (folder / "openvino-fp32/model.bin").unlink()
    path = folder
    if kind == "zip":
        path = tmp_path / "model.edgekit"
        with zipfile.ZipFile(path, "w") as archive:
            for item in folder.rglob("*.*"):
                archive.write(item, item.relative_to(folder))

    with pytest.raises(BundleIntegrityError, match=r"lacks its file 'openvino-fp32/model\.bin'"):
        Bundle.open(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_that_vanished_after_opening_is_an_error_of_ours(
    tmp_path: Path, kind: str
) -> None:
    bundle = write_tiny(tmp_path / "model.edgekit", kind)
    bundle.location.rename(tmp_path / "elsewhere")

    with pytest.raises(BundleError):
        bundle.verify_files()


def test_a_path_without_a_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        Bundle.open(tmp_path / "model.edgekit")


@pytest.mark.parametrize(
    "make", [Path.mkdir, Path.touch, os.mkfifo], ids=["folder", "file", "fifo"]
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "model.edgekit")

    with pytest.raises(BundleFormatError):
        Bundle.open(tmp_path / "model.edgekit")


def test_a_zip_cut_off_anywhere_is_refused(tmp_path: Path, whole_zip: bytes) -> None:
    path = tmp_path / "cut.edgekit"

    for length in range(0, len(whole_zip), 7):
        path.write_bytes(whole_zip[:length])
        with pytest.raises(BundleError):
            read_all(path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_zip_with_changed_bytes_loads_or_is_refused_by_an_error_of_ours(
    whole_zip: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    changed = bytearray(whole_zip)
    for _ in range(data.draw(st.integers(1, 4))):
        from_end = data.draw(st.integers(1, len(changed)))  # small is drawn most: the directory
        changed[-from_end] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.edgekit"
    path.write_bytes(changed)

    try:
        read_all(path)
    except EdgeKitError as error:
        assert str(error)


def npy(header: bytes, content: bytes = b"") -> bytes:
    header = header.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


@dataclass(frozen=True)
class Npy:
    id: str
    data: bytes


@pytest.mark.parametrize(
    "case",
    [
        Npy("empty", b""),
        Npy("not_npy", b"PK\x03\x04" + bytes(100)),
        Npy(
            "pickle",
            npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"cos\nsystem\n"),
        ),
        Npy("huge", npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}")),
        Npy(
            "overflow",
            npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}"),
        ),
        Npy(
            "negative",
            npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1)}", bytes(4)),
        ),
        Npy("short", npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", bytes(7))),
        Npy("long", npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", bytes(9))),
        Npy("code", npy(b"__import__('os').system('true')")),
        Npy(
            "record",
            npy(b"{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        ),
        Npy("no_size", npy(b"{'descr': '|V0', 'fortran_order': False, 'shape': (9,)}")),
        Npy("deep", npy(b"(" * 110)),
        Npy("version_9", b"\x93NUMPY\x09\x00" + bytes(200)),
    ],
    ids=lambda case: case.id,
)
def test_a_golden_that_is_no_plain_array_is_refused(case: Npy) -> None:
    with pytest.raises(BundleFormatError, match=r"'g\.npy' is not a plain \.npy array"):
        from_npy(case.data, dtype=DType.FLOAT32, path="g.npy")


@settings(max_examples=200, deadline=None)
@given(header=st.text(max_size=80), content=st.binary(max_size=16))
def test_any_bytes_as_a_golden_are_an_array_or_refused(header: str, content: bytes) -> None:
    try:
        array = from_npy(npy(header.encode()[:110], content), dtype=DType.INT4, path="g.npy")
    except BundleFormatError:
        return

    assert isinstance(array, np.ndarray)


def test_a_golden_changed_together_with_its_hash_is_still_not_unpickled(tmp_path: Path) -> None:
    data = npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"cos\nsystem\n")
    bundle = write_tiny(tmp_path / "model.edgekit", "folder")
    (bundle.location / "goldens/0/input.0.npy").write_bytes(data)

    def edit(manifest: bytes) -> bytes:
        tree = json.loads(manifest)
        record = {"size": len(data), "sha256": sha256(data).hexdigest()}
        tree["files"]["goldens/0/input.0.npy"] = record
        return json.dumps(tree).encode()

    edit_manifest(bundle.location, edit)

    with pytest.raises(BundleFormatError, match="not a plain"):
        Bundle.open(bundle.location).goldens()
