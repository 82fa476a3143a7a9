"""The store of enrolled people and the lock: what goes in comes out, and nothing else does."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is not installed")

from edgekit.apps.face_unlock.lock import Lock
from edgekit.apps.face_unlock.store import (
    MAX_BYTES,
    MAX_TEMPLATES,
    FaceStore,
    load_store,
    read_store,
)
from edgekit.errors import StoreError, UsageError

COSINE_ATOL = 1e-5  # six decimals of 256 numbers


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def store() -> FaceStore:
    return FaceStore("ab" * 32, "net", {"Ada": unit(2, 256), "Zoë": unit(1, 256, seed=1)})


def load(path: Path, embedder: str = "ab" * 32) -> FaceStore:
    return load_store(path, embedder=embedder, model="net")


def test_a_store_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    store().save(path)

    read = load(path)

    assert list(read.people) == ["Ada", "Zoë"]
    assert (read.people["Ada"] * store().people["Ada"]).sum(axis=1) == pytest.approx(
        [1, 1], abs=COSINE_ATOL
    )


def test_a_store_is_for_its_owner_alone_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    path.write_text("{}")
    path.chmod(0o644)

    store().save(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["people.json"]


def test_a_store_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    store().save(path)

    with pytest.raises(StoreError, match="made with another embedder"):
        load(path, "cd" * 32)


def test_the_nearest_person_is_the_one_with_the_nearest_template() -> None:
    nearest = store().nearest(store().people["Ada"][1])

    assert nearest is not None
    assert (nearest.name, nearest.cosine) == ("Ada", pytest.approx(1, abs=COSINE_ATOL))


def test_nobody_is_nearest_in_an_empty_store(tmp_path: Path) -> None:
    assert load(tmp_path / "new.json").nearest(unit(256)) is None


def test_a_person_can_be_forgotten() -> None:
    assert list(store().without("Ada").people) == ["Zoë"]
    with pytest.raises(StoreError, match="nobody named 'Bob'"):
        store().without("Bob")


def test_a_person_has_a_limited_number_of_templates() -> None:
    with pytest.raises(StoreError, match=f"1 to {MAX_TEMPLATES}"):
        store().with_templates("Ada", unit(MAX_TEMPLATES, 256))


@pytest.mark.parametrize("name", ["", " ", "a\x1b[31m", "a\nb", "x" * 65], ids=repr)
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(StoreError, match="is no name"):
        store().with_templates(name, unit(1, 256))


def document(**changes: Any) -> bytes:
    good = {"format": "edgekit-faces", "version": 1, "embedder": "ab" * 32, "model": "net"}
    return json.dumps({**good, "people": {"Ada": [[1.0, 0.0]]}, **changes}).encode()


@dataclass(frozen=True)
class Hostile:
    id: str
    data: bytes


HOSTILE = (
    Hostile("empty", b""),
    Hostile("binary", b"\xff\x00\x80"),
    Hostile("a list", b"[]"),
    Hostile("another format", document(format="zip")),
    Hostile("a newer version", document(version=2)),
    Hostile("no embedder", document(embedder=None)),
    Hostile("people as a list", document(people=[])),
    Hostile("nested too deep", b"[" * 200_000),
    Hostile("not a number", document().replace(b"1.0", b"NaN")),
    Hostile("infinity", document().replace(b"1.0", b"1e999")),
    Hostile(
        "a name twice", document().replace(b'"people"', b'"format": "edgekit-faces", "people"')
    ),
    Hostile("no templates", document(people={"Ada": []})),
    Hostile("an empty template", document(people={"Ada": [[]]})),
    Hostile("templates of two lengths", document(people={"Ada": [[1.0], [1.0, 0.0]]})),
    Hostile("two persons of two lengths", document(people={"Ada": [[1.0]], "Bob": [[1.0, 0.0]]})),
    Hostile("too many templates", document(people={"Ada": [[1.0]] * (MAX_TEMPLATES + 1)})),
    Hostile("not of length 1", document(people={"Ada": [[2.0, 0.0]]})),
    Hostile("of length 0", document(people={"Ada": [[0.0, 0.0]]})),
    Hostile("a truth for a number", document(people={"Ada": [[True, 0.0]]})),
    Hostile("a huge number", document().replace(b"1.0", b"1" + b"0" * 400)),
    Hostile("text for a number", document(people={"Ada": [["1", 0.0]]})),
    Hostile("a name that a terminal obeys", document(people={"\x1b]0;x": [[1.0]]})),
    Hostile("too many people", document(people={str(n): [[1.0]] for n in range(1001)})),
)


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.id)
def test_a_damaged_store_is_refused_in_one_printable_line(case: Hostile, tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    path.write_bytes(case.data)

    with pytest.raises(StoreError) as caught:
        read_store(path)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_the_document_that_the_hostile_ones_are_made_of_is_read(tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    path.write_bytes(document())

    assert list(read_store(path).people) == ["Ada"]


def test_a_store_that_is_too_large_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    with path.open("wb") as file:
        file.truncate(64 * MAX_BYTES)  # a hole: it takes no room on the disk

    with pytest.raises(StoreError, match="a store of faces is smaller"):
        read_store(path)


def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(StoreError, match="not a plain file"):
        read_store(tmp_path / "pipe")
    with pytest.raises(StoreError):
        read_store(tmp_path)


@dataclass(frozen=True)
class Watched:
    id: str
    seen: str
    """A letter for each frame; ``.`` is nobody."""

    events: tuple[str, ...]


WATCHED = (
    Watched("three in a row open", "aaa", ("3 unlocked",)),
    Watched("two do not", "aa.aa.aa", ()),
    Watched("two persons in turns do not", "ababab", ()),
    Watched("it opens once", "aaaaaaaa", ("3 unlocked",)),
    Watched("a short absence does not close", "aaa..a..a", ("3 unlocked",)),
    Watched("a longer one closes", "aaa...", ("3 unlocked", "6 locked")),
    Watched("another person closes first", "aaabbbbbb", ("3 unlocked", "6 locked", "9 unlocked")),
    Watched("it opens again", "aaa...aaa", ("3 unlocked", "6 locked", "9 unlocked")),
    Watched("nobody stays nobody", "........", ()),
)


@pytest.mark.parametrize("case", WATCHED, ids=lambda case: case.id)
def test_the_lock_follows_who_is_seen(case: Watched) -> None:
    lock = Lock(3)

    events = [(number, lock.step(name.strip("."))) for number, name in enumerate(case.seen, 1)]

    assert tuple(f"{number} {event}" for number, event in events if event) == case.events


def test_a_lock_needs_a_frame() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        Lock(0)
