"""The folder of built engines: found by key, written atomically, bounded in size.

Per engine there are ``DIGEST.plan``, the plain bytes that TensorRT deserializes (other tools
read them too), and ``DIGEST.json`` beside it, the key in words and what was measured. The
plan is written first: a plan without its JSON is not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekit._version import __version__
from edgekit.bundle.hashing import file_sha256
from edgekit.errors import EngineError
from edgekit.runtimes.engines.key import DeviceFacts, EngineKey
from edgekit.runtimes.engines.locking import locked

MAX_BYTES = 4 << 30
"""Plans of a store together, unless told otherwise: about 40 of a ResNet-50 in float16."""

_LEFTOVER_S = 24 * 3600
"""A temporary file of this age belongs to a builder that was killed."""

_MAX_SIDECAR_BYTES = 4 << 20


@dataclass(frozen=True)
class StoredEngine:
    """An engine in the store.

    Args:
        key: What it fits.
        path: Its plan.
        nbytes: Size of the plan.
        sha256: Of the plan.
        built_at: Seconds since the epoch.
        facts: What was measured when it was built, JSON-ready: seconds, peak memory, latency.
        used_at: When it was last opened.
    """

    key: EngineKey
    path: Path
    nbytes: int
    sha256: str
    built_at: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    used_at: float = 0.0

    def read(self) -> bytes:
        """Return the plan, checked.

        Raises:
            EngineError: It is not what was written.
        """
        try:
            plan = self.path.read_bytes()
        except OSError as error:
            raise EngineError(
                f"the engine {self.path} cannot be read: {error}; build it again"
            ) from error
        if hashlib.sha256(plan).hexdigest() != self.sha256:
            raise EngineError(
                f"the engine {self.path} is damaged: its hash is not the one in "
                f"{self.path.with_suffix('.json').name}; delete it and build again"
            )
        return plan

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            **self.key.to_json(),
            "nbytes": self.nbytes,
            "sha256": self.sha256,
            "built_at": self.built_at,
            "edgekit": __version__,
            "facts": dict(self.facts),
        }


class EngineStore:
    """A folder of engines; safe to use from several processes.

    Args:
        root: The folder; None is ``EDGEKIT_CACHE``, or the user's cache folder.
        max_bytes: What ``get_or_build`` lets the plans take together; those that were used
            longest ago go first.
    """

    def __init__(self, root: Path | None = None, *, max_bytes: int = MAX_BYTES) -> None:
        self.root = root or default_root()
        self.max_bytes = max_bytes

    def find(self, key: EngineKey) -> StoredEngine | None:
        """Return the engine with exactly this key, and note that it was used."""
        found = self._read(self.root / f"{key.digest}.json")
        if found is None or found.key.to_json() != key.to_json():
            return None
        with _may_be_gone():  # or the folder is read-only
            os.utime(found.path)
        return found

    def get_or_build(
        self,
        key: EngineKey,
        build: Callable[[Path], Mapping[str, Any]],
        *,
        waiting: Callable[[float], None] | None = None,
    ) -> StoredEngine:
        """Return the engine; build it where it is not there, once for all processes.

        Args:
            key: What it has to fit.
            build: Writes the plan to the path that it is given, and returns the facts.
            waiting: Told the seconds waited so far, while another process builds it.

        Raises:
            EngineError: The builder wrote nothing.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(self.root / f"{key.digest}.lock", waiting=waiting):
            found = self.find(key)  # built by the process that was waited for
            if found is not None:
                return found
            with self._temporary(key) as plan:
                facts = build(plan)
                stored = self._put(key, plan, facts)
        self.prune(self.max_bytes, keep=key)
        return stored

    def note(self, engine: StoredEngine, facts: Mapping[str, Any]) -> StoredEngine:
        """Return the engine with facts added, such as a latency; they are kept beside it."""
        noted = replace(engine, facts={**engine.facts, **facts})
        final = engine.path.with_suffix(".json")
        temporary = self.root / f".{final.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        try:
            _write_sidecar(noted, temporary)
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)
        return noted

    def near(self, key: EngineKey) -> StoredEngine | None:
        """Return the engine of the same model that differs least, or None.

        ``key.differences(near.key)`` then says why it may not be used.
        """
        same = [item for item in self.entries() if item.key.model == key.model]
        return min(same, key=lambda item: len(key.differences(item.key)), default=None)

    def entries(self) -> tuple[StoredEngine, ...]:
        """Return all engines, the one that was used last first."""
        found = [self._read(path) for path in self.root.glob("*.json")]
        engines = [item for item in found if item is not None]
        return tuple(sorted(engines, key=lambda item: -item.used_at))

    def prune(
        self,
        max_bytes: int | None = None,
        *,
        older_than_s: float | None = None,
        keep: EngineKey | None = None,
    ) -> tuple[StoredEngine, ...]:
        """Delete engines until the rest fits; return what went.

        Args:
            max_bytes: What the plans may take together; None bounds nothing.
            older_than_s: Engines unused for longer go in any case.
            keep: One that stays.
        """
        now, taken, gone = time.time(), 0, []
        for engine in self.entries():
            is_old = older_than_s is not None and now - engine.used_at > older_than_s
            taken += engine.nbytes
            is_over = max_bytes is not None and taken > max_bytes
            if (is_old or is_over) and (keep is None or engine.key.digest != keep.digest):
                self.remove(engine)
                taken -= engine.nbytes
                gone.append(engine)
        for path in self.root.glob(".*.tmp"):
            with _may_be_gone():
                if now - path.stat().st_mtime > _LEFTOVER_S:
                    path.unlink()
        return tuple(gone)

    def remove(self, engine: StoredEngine) -> None:
        """Delete an engine; its JSON first, so that no half of it is found."""
        for path in (engine.path.with_suffix(".json"), engine.path):
            path.unlink(missing_ok=True)

    def timing_cache(self, device: DeviceFacts) -> Path:
        """Return where the builder's timings of a device are kept; its folder is there."""
        folder = self.root / "timing"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{device.digest}.cache"

    @contextmanager
    def _temporary(self, key: EngineKey) -> Iterator[Path]:
        path = self.root / f".{key.digest}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _put(self, key: EngineKey, plan: Path, facts: Mapping[str, Any]) -> StoredEngine:
        if not plan.is_file() or plan.stat().st_size == 0:
            raise EngineError("the builder ended without an engine; see its log above")
        final, now = self.root / f"{key.digest}.plan", time.time()
        stored = StoredEngine(
            key, final, plan.stat().st_size, file_sha256(plan), now, dict(facts), used_at=now
        )
        sidecar = plan.with_name(f"{plan.name}.json.tmp")
        try:
            _write_sidecar(stored, sidecar)
            final.with_suffix(".json").unlink(missing_ok=True)
            plan.replace(final)
            sidecar.replace(final.with_suffix(".json"))
        finally:
            sidecar.unlink(missing_ok=True)
        return stored

    def _read(self, sidecar: Path) -> StoredEngine | None:
        plan = sidecar.with_suffix(".plan")
        with _may_be_gone():
            if sidecar.stat().st_size > _MAX_SIDECAR_BYTES:
                return None
            status = plan.stat()
            data = json.loads(sidecar.read_text(encoding="utf-8"))
            if int(data["nbytes"]) != status.st_size:
                return None
            return StoredEngine(
                key=EngineKey.from_json(data),
                path=plan,
                nbytes=status.st_size,
                sha256=str(data["sha256"]),
                built_at=float(data["built_at"]),
                facts=dict(data.get("facts", {})),
                used_at=status.st_mtime,
            )
        return None


def default_root() -> Path:
    """Return the user's folder of engines."""
    own = os.environ.get("EDGEKIT_CACHE")
    if own:
        return Path(own) / "engines"
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "edgekit" / "engines"


def _write_sidecar(engine: StoredEngine, path: Path) -> None:
    path.write_text(json.dumps(engine.to_json(), indent=2) + "\n", encoding="utf-8")


@contextmanager
def _may_be_gone() -> Iterator[None]:
    """Let a file that another process deleted, or that is no sidecar, count as not there."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
