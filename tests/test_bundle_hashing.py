"""A process hashes a file once; one that may have changed is hashed again, and refused."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from bundle_models import FILES, OPENVINO, write_tiny

from edgekit.bundle import Bundle, hashing
from edgekit.bundle.hashing import file_sha256, known_sha256, remember, state_of
from edgekit.bundle.store import FolderStore
from edgekit.errors import BundleIntegrityError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no time of a file's status here")

WEIGHTS = "openvino-fp32/model.bin"
TICK_S = 0.05  # a kernel stamps files by its timer, which ticks 100 times a second or more


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The files that were read to be hashed, where all are old enough to be remembered."""
    read: list[str] = []
    chunks = FolderStore.chunks

    def counted(store: FolderStore, path: str, *, limit: int) -> Iterator[bytes]:
        read.append(path)
        return chunks(store, path, limit=limit)

    monkeypatch.setattr(FolderStore, "chunks", counted)
    monkeypatch.setattr(hashing, "_TICK_NS", 0)
    monkeypatch.setattr(hashing, "_known", {})
    yield read


def weights_path(location: Path) -> Path | None:
    return Bundle.open(location).files(OPENVINO).path("weights")


def test_a_file_is_hashed_once_however_often_its_bundle_is_opened(
    tmp_path: Path, hashed: list[str]
) -> None:
    location = write_tiny(tmp_path / "model.edgekit", "folder").location

    paths = {weights_path(location) for _ in range(3)}

    assert paths == {location / WEIGHTS}
    assert hashed.count(WEIGHTS) == 1
    assert file_sha256(location / WEIGHTS) == sha256(FILES[WEIGHTS]).hexdigest()


def test_verifying_hashes_again(tmp_path: Path, hashed: list[str]) -> None:
    bundle = write_tiny(tmp_path / "model.edgekit", "folder")

    bundle.verify_files()
    bundle.verify_files()

    assert hashed.count(WEIGHTS) == 2


@pytest.mark.usefixtures("hashed")
@pytest.mark.parametrize("is_replaced", [False, True], ids=["in_place", "replaced"])
@pytest.mark.parametrize("is_open", [False, True], ids=["opened_again", "still_open"])
def test_a_known_file_that_changed_is_refused_though_size_and_time_are_as_before(
    tmp_path: Path, is_replaced: bool, is_open: bool
) -> None:
    bundle = write_tiny(tmp_path / "model.edgekit", "folder")
    path = bundle.files(OPENVINO).path("weights")
    assert path is not None
    times = path.stat()
    time.sleep(TICK_S)

    changed = path.with_name("changed") if is_replaced else path
    changed.write_bytes(b"\xff" + FILES[WEIGHTS][1:])
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    changed.replace(path)
    again = bundle if is_open else Bundle.open(bundle.location)

    with pytest.raises(BundleIntegrityError, match=r"model\.bin"):
        again.files(OPENVINO).path("weights")


@pytest.mark.usefixtures("hashed")
def test_a_file_that_changes_while_it_is_hashed_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    before = state_of(path)
    path.write_bytes(b"after it")

    remember(path, before, "0" * 64)

    assert known_sha256(before) is None
    assert file_sha256(path) == sha256(b"after it").hexdigest()


def test_a_file_of_this_moment_is_not_remembered(
    tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_TICK_NS", 10**12)
    location = write_tiny(tmp_path / "model.edgekit", "folder").location

    for _ in range(2):
        weights_path(location)

    assert hashed.count(WEIGHTS) == 2


@pytest.mark.usefixtures("hashed")
def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_MAX_KNOWN", 2)
    for name in "abc":
        (tmp_path / name).write_text(name)
        file_sha256(tmp_path / name)

    assert [known_sha256(state_of(tmp_path / name)) is None for name in "abc"] == [
        True,
        True,
        False,
    ]


def test_a_link_is_hashed_each_time(tmp_path: Path, hashed: list[str]) -> None:
    (tmp_path / "file").write_bytes(b"one")
    (tmp_path / "link").symlink_to("file")

    assert file_sha256(tmp_path / "link") == sha256(b"one").hexdigest()
    assert state_of(tmp_path / "link") is None
    assert hashed == []
