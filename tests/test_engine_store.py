"""The store of engines: keys, atomic writes, one builder per key, a bounded size."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import EngineError
from edgekit.runtimes.engines import DeviceFacts, EngineKey, EngineStore
from edgekit.runtimes.engines.store import default_root

ORIN = DeviceFacts(gpu="Orin", sm="8.7", tensorrt="10.3.0.30", cuda="12.6", power_mode="MAXN")
KEY = EngineKey(ORIN, {"model_sha256": "ab" * 32, "precision": "int8", "workspace_mib": 512})


def _builds(plan: Path) -> Mapping[str, Any]:
    plan.write_bytes(b"plan of an engine")
    return {"seconds": 1.5}


def test_an_engine_is_built_once_and_found_again(tmp_path: Path) -> None:
    calls = []

    def build(plan: Path) -> Mapping[str, Any]:
        calls.append(plan)
        return _builds(plan)

    first = EngineStore(tmp_path).get_or_build(KEY, build)
    second = EngineStore(tmp_path).get_or_build(KEY, build)

    assert len(calls) == 1
    assert first.read() == second.read() == b"plan of an engine"
    assert second.facts == {"seconds": 1.5}


def test_the_plan_is_plain_and_its_key_lies_beside_it_in_words(tmp_path: Path) -> None:
    EngineStore(tmp_path).get_or_build(KEY, _builds)

    assert (tmp_path / f"{KEY.digest}.plan").read_bytes() == b"plan of an engine"
    sidecar = json.loads((tmp_path / f"{KEY.digest}.json").read_text())
    assert sidecar["device"]["power_mode"] == "MAXN"
    assert sidecar["settings"]["precision"] == "int8"


@pytest.mark.parametrize("name", ["gpu", "sm", "tensorrt", "cuda", "power_mode"])
def test_another_device_or_release_is_another_engine(tmp_path: Path, name: str) -> None:
    store = EngineStore(tmp_path)
    store.get_or_build(KEY, _builds)
    other = EngineKey(replace(ORIN, **{name: "other"}), KEY.settings)

    found = store.find(other)
    near = store.near(other)

    assert found is None
    assert near is not None
    assert len(other.differences(near.key)) == 1


def test_a_difference_is_said_in_words() -> None:
    thor = replace(ORIN, gpu="Thor", sm="11.0")
    wanted = EngineKey(thor, {**KEY.settings, "model_sha256": "cd" * 32, "workspace_mib": 256})

    lines = wanted.differences(KEY)

    assert lines == (
        "GPU Orin, not Thor",
        "compute capability 8.7, not 11.0",
        "another model",
        "workspace mib 512, not 256",
    )


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(plan: Path) -> Mapping[str, Any]:
        plan.write_bytes(b"half")
        raise EngineError("out of memory")

    store = EngineStore(tmp_path)
    with pytest.raises(EngineError, match="out of memory"):
        store.get_or_build(KEY, fail)

    assert store.entries() == ()
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_a_builder_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="without an engine"):
        EngineStore(tmp_path).get_or_build(KEY, lambda plan: {})


def test_a_damaged_plan_is_found_before_it_is_used(tmp_path: Path) -> None:
    stored = EngineStore(tmp_path).get_or_build(KEY, _builds)
    stored.path.write_bytes(b"plan of an Engine")

    with pytest.raises(EngineError, match="damaged"):
        stored.read()


def test_a_truncated_plan_counts_as_not_there(tmp_path: Path) -> None:
    store = EngineStore(tmp_path)
    stored = store.get_or_build(KEY, _builds)
    stored.path.write_bytes(b"plan")

    assert store.find(KEY) is None
    assert store.get_or_build(KEY, _builds).read() == b"plan of an engine"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nbytes": "x"}', "null", '{"nbytes": 17}'])
def test_a_hostile_sidecar_counts_as_not_there(tmp_path: Path, text: str) -> None:
    store = EngineStore(tmp_path)
    store.get_or_build(KEY, _builds)
    (tmp_path / f"{KEY.digest}.json").write_text(text)

    assert store.find(KEY) is None
    assert store.entries() == ()


def test_those_used_longest_ago_go_first(tmp_path: Path) -> None:
    store = EngineStore(tmp_path, max_bytes=40)
    keys = [EngineKey(ORIN, {**KEY.settings, "dla_core": core}) for core in range(3)]
    for age, key in zip((300, 200), keys, strict=False):
        stored = store.get_or_build(key, _builds)
        os.utime(stored.path, (time.time() - age, time.time() - age))
    store.find(keys[0])  # used again: the second one is now the oldest

    store.get_or_build(keys[2], _builds)

    assert store.find(keys[1]) is None
    assert store.find(keys[0]) is not None
    assert store.find(keys[2]) is not None


def test_the_engine_just_built_stays_even_where_it_is_too_large(tmp_path: Path) -> None:
    store = EngineStore(tmp_path, max_bytes=1)

    store.get_or_build(KEY, _builds)

    assert store.find(KEY) is not None


def test_what_is_measured_later_is_noted_beside_the_engine(tmp_path: Path) -> None:
    store = EngineStore(tmp_path)
    stored = store.get_or_build(KEY, _builds)

    store.note(stored, {"median_ms": 2.5})

    found = store.find(KEY)
    assert found is not None
    assert found.facts == {"seconds": 1.5, "median_ms": 2.5}
    assert found.read() == b"plan of an engine"


def test_prune_by_age(tmp_path: Path) -> None:
    store = EngineStore(tmp_path)
    stored = store.get_or_build(KEY, _builds)
    os.utime(stored.path, (0, 0))

    gone = store.prune(older_than_s=3600)

    assert [item.key.digest for item in gone] == [KEY.digest]
    assert store.entries() == ()


def _build_slowly(root: str, results: Any) -> None:
    def build(plan: Path) -> Mapping[str, Any]:
        time.sleep(0.5)
        return {**_builds(plan), "pid": os.getpid()}

    results.put(EngineStore(Path(root)).get_or_build(KEY, build).facts["pid"])


def test_two_processes_that_want_one_engine_build_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [
        context.Process(target=_build_slowly, args=(str(tmp_path), results)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    builders = {results.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join(60)

    assert len(builders) == 1


_KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_engine_store import KEY
from edgekit.runtimes.engines import EngineStore

def build(plan):
    plan.write_bytes(b"half of a plan")
    print("building", flush=True)
    time.sleep(60)

EngineStore(Path({root!r})).get_or_build(KEY, build)
"""


def test_a_killed_builder_leaves_no_engine_and_blocks_nobody(tmp_path: Path) -> None:
    script = _KILLED.format(tests=str(Path(__file__).parent), root=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait(30)

    store = EngineStore(tmp_path)
    assert store.entries() == ()
    assert store.get_or_build(KEY, _builds).read() == b"plan of an engine"


def test_leftovers_of_killed_builders_go_after_a_day(tmp_path: Path) -> None:
    leftover = tmp_path / ".0123456789abcdef.1-00.tmp"
    leftover.write_bytes(b"half")
    fresh = tmp_path / ".0123456789abcdef.2-00.tmp"
    fresh.write_bytes(b"half")
    os.utime(leftover, (0, 0))

    EngineStore(tmp_path).prune()

    assert not leftover.exists()
    assert fresh.exists()


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", "/somewhere")
    own = default_root()
    monkeypatch.delenv("EDGEKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    shared = default_root()

    assert own == Path("/somewhere/engines")
    assert shared == Path("/cache/edgekit/engines")


def test_the_timing_cache_is_one_per_device(tmp_path: Path) -> None:
    store = EngineStore(tmp_path)

    ours, other = store.timing_cache(ORIN), store.timing_cache(replace(ORIN, power_mode="15W"))

    assert ours != other
    assert ours.parent.is_dir()
