"""The enrolled people: a JSON file of names and vectors, and no picture."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgekit.bundle.replace import put, reserve
from edgekit.errors import StoreError

FORMAT = "edgekit-faces"
VERSION = 1

MAX_BYTES = 32 * 1024 * 1024
MAX_PEOPLE = 1000
MAX_TEMPLATES = 32
"""Of one person."""
MAX_LENGTH = 4096
"""Of a vector; embedders have 128 to 512."""
MAX_NAME = 64

_MODE = 0o600
_DECIMALS = 6  # of numbers below 1: a cosine keeps five
_NORM_SLACK = 1e-3

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Match:
    """The enrolled person that a face is nearest to.

    Args:
        name: Of the person.
        cosine: To the nearest of the person's templates, in -1..1.
    """

    name: str
    cosine: float


@dataclass(frozen=True)
class FaceStore:
    """Enrolled people, as one embedder sees them.

    Args:
        embedder: Fingerprint of the embedder (``FrameModel.fingerprint``).
        model: Its name, for messages.
        people: Templates by name, float32, each of shape (templates, length), rows of length 1.

    Raises:
        StoreError: A name or a vector is malformed, or there are too many.
    """

    embedder: str
    model: str
    people: Mapping[str, Vectors] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.people) > MAX_PEOPLE:
            raise StoreError(f"{len(self.people)} people; a store holds {MAX_PEOPLE} at most")
        for name, vectors in self.people.items():
            check_name(name)
            _check_vectors(name, vectors)
        lengths = {vectors.shape[1] for vectors in self.people.values()}
        if len(lengths) > 1:
            raise StoreError(f"vectors of {sorted(lengths)} numbers in one store; enroll again")

    def with_templates(self, name: str, vectors: Vectors) -> FaceStore:
        """Return the store with more templates of a person, new or known.

        Args:
            name: Of the person.
            vectors: Shape (templates, length), rows of length 1.

        Raises:
            StoreError: The name is malformed, or it would be too many.
        """
        known = self.people.get(name)
        joined = vectors if known is None else np.concatenate([known, vectors])
        return replace(self, people={**self.people, name: joined})

    def without(self, name: str) -> FaceStore:
        """Return the store without a person.

        Raises:
            StoreError: Nobody of that name is in it.
        """
        if name not in self.people:
            known = ", ".join(sorted(self.people)) or "nobody"
            raise StoreError(f"nobody named {name!r} is enrolled; there is: {known}")
        return replace(self, people={k: v for k, v in self.people.items() if k != name})

    def nearest(self, vector: NDArray[np.float32]) -> Match | None:
        """Return who looks most like a face; None where nobody is enrolled.

        Args:
            vector: Of the face, shape (length,), of length 1.

        Raises:
            StoreError: It is of another length than the templates.
        """
        best: Match | None = None
        for name, templates in self.people.items():
            if templates.shape[1:] != vector.shape:
                raise StoreError(
                    f"a vector of shape {vector.shape} against templates of {templates.shape[1]} "
                    "numbers; the store was made with another model"
                )
            cosine = float((templates @ vector).max())
            if best is None or cosine > best.cosine:
                best = Match(name, cosine)
        return best

    def save(self, path: Path) -> None:
        """Write the file, for its owner's eyes alone; a kill leaves the old one whole.

        Raises:
            StoreError: The system refuses.
        """
        people = {
            name: [[round(float(value), _DECIMALS) for value in row] for row in vectors]
            for name, vectors in sorted(self.people.items())
        }
        document = {
            "format": FORMAT,
            "version": VERSION,
            "embedder": self.embedder,
            "model": self.model,
            "people": people,
        }
        data = json.dumps(document, ensure_ascii=False).encode()
        if len(data) > MAX_BYTES:
            raise StoreError(f"{path} would be {len(data)} bytes; {MAX_BYTES} are the most")
        try:
            with reserve(path, is_folder=False) as temporary:
                temporary.chmod(_MODE)  # before anything is in it
                with temporary.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                put(temporary, path)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written: {error.strerror}; is the folder yours?"
            ) from error


def load_store(path: Path, *, embedder: str, model: str) -> FaceStore:
    """Return the store of a file, or an empty one where there is no file.

    Args:
        path: The file.
        embedder: Fingerprint of the embedder that its vectors will be compared with.
        model: Its name.

    Raises:
        StoreError: The file is no store, is damaged or too large, or was made with another
            embedder, whose vectors mean nothing to this one.
    """
    if not os.path.lexists(path):
        return FaceStore(embedder, model)
    store = read_store(path)
    if store.embedder != embedder:
        raise StoreError(
            f"{path} was made with another embedder ({store.model}, {store.embedder[:12]}; this "
            f"is {model}, {embedder[:12]}), and their vectors cannot be compared; give that "
            "model, or enroll everybody again into a new store"
        )
    return store


def read_store(path: Path) -> FaceStore:
    """Return the store of a file, whatever its embedder.

    Raises:
        StoreError: It is no store, is damaged or too large.
    """
    document = _read_document(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise StoreError(f"{path} is no store of faces; enroll writes one")
    if document.get("version") != VERSION:
        raise StoreError(
            f"{path} has version {document.get('version')!r:.20}; this EdgeKit reads {VERSION}: "
            "update it"
        )
    texts = (document.get("embedder"), document.get("model"))
    people = document.get("people")
    if not all(isinstance(text, str) for text in texts) or not isinstance(people, dict):
        raise StoreError(f"{path} is damaged: embedder, model or people is not as written")
    if len(people) > MAX_PEOPLE:
        raise StoreError(f"{path} has {len(people)} people; {MAX_PEOPLE} are the most")
    read = {name: _read_vectors(rows, name, path) for name, rows in people.items()}
    try:
        return FaceStore(str(texts[0]), _printable(str(texts[1])), read)
    except StoreError as error:
        raise StoreError(f"{path} is damaged: {error}") from error


def check_name(name: str) -> None:
    """Check that a name can be shown and stored.

    Raises:
        StoreError: It is empty, too long, or holds what a terminal would obey.
    """
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise StoreError(
            f"{_printable(name)!r:.80} is no name; expected 1 to {MAX_NAME} printable letters"
        )


def _read_document(path: Path) -> Any:
    try:
        # A pipe would wait for ever; what is no plain file is refused before it is read.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StoreError(f"{path} is not a plain file; give the path of a store")
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise StoreError(f"{path} is over {MAX_BYTES} bytes; a store of faces is smaller")
    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise StoreError(
            f"{path} is no JSON that enroll has written: {str(error)[:120]}; enroll again"
        ) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _read_vectors(rows: Any, name: str, path: Path) -> Vectors:
    is_table = (
        isinstance(rows, list)
        and 1 <= len(rows) <= MAX_TEMPLATES
        and all(isinstance(row, list) and 1 <= len(row) <= MAX_LENGTH for row in rows)
        and len({len(row) for row in rows}) == 1
        and all(type(value) in (int, float) and abs(value) <= 2 for row in rows for value in row)
    )
    if not is_table:
        raise StoreError(
            f"{path} is damaged: the templates of {_printable(name)!r:.80} are not 1 to "
            f"{MAX_TEMPLATES} lists of numbers, all as long"
        )
    vectors = np.array(rows, np.float32)
    _check_vectors(name, vectors)
    # Rounding to decimals has moved the length a little.
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _check_vectors(name: str, vectors: Vectors) -> None:
    if vectors.ndim != 2 or not 1 <= len(vectors) <= MAX_TEMPLATES:
        raise StoreError(
            f"{_printable(name)!r:.80} has templates of shape {vectors.shape}; a store keeps 1 to "
            f"{MAX_TEMPLATES} of one person: forget the name and enroll it anew"
        )
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.all(np.abs(lengths - 1) < _NORM_SLACK):
        raise StoreError(f"a template of {_printable(name)!r:.80} is not of length 1; enroll again")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
