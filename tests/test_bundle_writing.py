"""Whatever happens to the writer, the old bundle or the new one is there, whole."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bundle_models import FILES, KINDS, make_manifest, write_tiny

from edgekit.bundle import Bundle, replace, write_bundle
from edgekit.errors import BundleError

TESTS = Path(__file__).resolve().parent

# Counts what the writer asks of the file system, and dies right before the call of that number.
# Audit hooks see every such call of Python's own; source: PEP 578.
DIE_AT_CALL = """
import os, signal, sys
from pathlib import Path
from bundle_models import write_tiny
from edgekit.bundle import replace

path, kind, last, mode = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
calls = []

if mode == "two steps":
    def cannot(first, second):
        import errno
        raise OSError(errno.ENOSYS, "no exchange")
    replace.exchange = cannot

WATCHED = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "fcntl.flock")

def watch(event, arguments):
    if event in WATCHED:
        calls.append(event)
        if len(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
write_tiny(path, kind, name="new")
print(*calls)
"""

WRITE_FOR_EVER = """
import sys
from pathlib import Path
from bundle_models import write_tiny

path, kinds, name = Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3]
print("ready", flush=True)
for number in range(int(sys.argv[4])):
    write_tiny(path, kinds[number % len(kinds)], name=name)
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        text=True,
    )


def hidden(folder: Path) -> list[str]:
    return [item.name for item in folder.iterdir() if item.name.startswith(".")]


@pytest.mark.parametrize("mode", ["exchange", "two steps"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_writer_killed_at_any_call_leaves_the_old_bundle_or_the_new_one(
    tmp_path: Path, kind: str, mode: str
) -> None:
    path = tmp_path / "model.edgekit"
    write_tiny(path, kind, name="old")
    calls = start(DIE_AT_CALL, path, kind, 0, mode).communicate()[0].split()
    names: list[str] = []

    # Some while the files are written and deleted, and all around the swap.
    swaps = [at for at, call in enumerate(calls, 1) if call in ("os.rename", "shutil.rmtree")]
    near = {at + step for at in swaps for step in (-1, 0, 1)}
    moments = sorted({1, *range(5, len(calls), 9), *near, len(calls)})
    for moment in moments:
        write_tiny(path, kind, name="old")
        killed = start(DIE_AT_CALL, path, kind, moment, mode)
        killed.communicate()
        if not path.exists():
            assert (kind, mode) == ("folder", "two steps")
            with pytest.raises(BundleError, match="a write of it was interrupted"):
                Bundle.open(path)
            replace.clean_leftovers(path)
        bundle = Bundle.open(path)
        assert killed.returncode == -signal.SIGKILL
        assert bundle.verify_files()
        names.append(bundle.manifest.name)

    write_tiny(path, kind, name="after")
    assert set(names) == {"old", "new"}
    assert names == sorted(names, reverse=True)  # once the new one is there, it stays
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_writer_killed_at_any_time_leaves_a_whole_bundle(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.edgekit"
    write_tiny(path, kind, name="old")
    delays = random.Random(0)

    for _ in range(8):
        writer = start(WRITE_FOR_EVER, path, kind, "new", 10**6)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(delays.uniform(0, 0.05))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        assert Bundle.open(path).verify_files()

    write_tiny(path, kind, name="after")
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("kinds", ["zip", "folder", "zip,folder"])
def test_writers_at_the_same_time_leave_a_whole_bundle(tmp_path: Path, kinds: str) -> None:
    path = tmp_path / "model.edgekit"

    writers = [start(WRITE_FOR_EVER, path, kinds, f"writer {n}", 25) for n in range(3)]
    codes = [(writer.communicate(), writer.returncode)[1] for writer in writers]

    assert codes == [0, 0, 0]
    assert Bundle.open(path).verify_files()
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_leftovers_of_a_killed_writer_are_cleaned_and_nothing_else(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "model.edgekit"
    (tmp_path / ".model.edgekit.4242-0badcafe.tmp").mkdir()
    (tmp_path / ".model.edgekit.4242-0badcafe.tmp/part").write_text("half")
    (tmp_path / ".model.edgekit.4242-0badbeef.tmp").write_text("half")
    (tmp_path / ".model.edgekit.notes.tmp").write_text("mine")
    (tmp_path / ".other.edgekit.4242-0badcafe.tmp").write_text("another's")

    write_tiny(path, kind)

    assert sorted(hidden(tmp_path)) == [
        ".model.edgekit.notes.tmp",
        ".other.edgekit.4242-0badcafe.tmp",
    ]


def test_what_another_writer_is_writing_is_not_cleaned(tmp_path: Path) -> None:
    path = tmp_path / "model.edgekit"

    with replace.reserve(path, is_folder=True) as busy:
        write_tiny(path, "folder")

        assert busy.is_dir()


def test_a_folder_that_a_cleaner_took_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    mkdir = Path.mkdir

    def make_and_lose_the_first(folder: Path) -> None:
        mkdir(folder)
        made.append(folder)
        if len(made) == 1:
            folder.rmdir()

    monkeypatch.setattr(Path, "mkdir", make_and_lose_the_first)

    with replace.reserve(tmp_path / "model.edgekit", is_folder=True) as folder:
        assert folder.is_dir()
        assert made == [made[0], folder]


def test_a_bundle_moved_aside_by_a_killed_writer_is_moved_back(tmp_path: Path) -> None:
    path = tmp_path / "model.edgekit"
    write_tiny(path, "folder", name="old").location.rename(
        tmp_path / ".model.edgekit.4242-0badcafe.old"
    )

    replace.clean_leftovers(path)

    assert Bundle.open(path).manifest.name == "old"


def test_two_names_are_exchanged_in_one_step(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("file")
    (tmp_path / "b").mkdir()

    try:
        replace.exchange(tmp_path / "a", tmp_path / "b")
    except OSError as error:
        pytest.skip(f"this system cannot exchange names: {error}")

    assert (tmp_path / "a").is_dir()
    assert (tmp_path / "b").read_text() == "file"


@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", KINDS)
def test_without_exchange_the_old_bundle_is_replaced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    def cannot(first: Path, second: Path) -> None:
        raise OSError(errno.EINVAL, "this file system cannot")

    monkeypatch.setattr(replace, "exchange", cannot)
    write_tiny(tmp_path / "model.edgekit", old, name="old")

    bundle = write_tiny(tmp_path / "model.edgekit", new, name="new")

    assert bundle.manifest.name == "new"
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_leaves_the_old_bundle_and_no_leftovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "model.edgekit"
    write_tiny(path, kind, name="old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(BundleError, match="No space left on device"):
        write_tiny(path, kind, name="new")

    monkeypatch.undo()
    assert Bundle.open(path).manifest.name == "old"
    assert hidden(tmp_path) == []


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"cannot write .*model\.edgekit"):
        write_bundle(tmp_path / "nowhere/model.edgekit", make_manifest(), FILES)


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_on_disk_before_the_name_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    synced: list[str] = []
    put = replace.put

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    def put_and_note(new: Path, final: Path) -> None:
        synced.append("RENAME")
        put(new, final)

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc on this system")
    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr("edgekit.bundle.writer.put", put_and_note)

    write_tiny(tmp_path / "model.edgekit", kind)

    before = synced[: synced.index("RENAME")]
    names = {path.rpartition("/")[2] for path in FILES} | {"manifest.json"}
    assert names <= set(before) if kind == "folder" else before[0].endswith(".tmp")
    assert synced[-1] == tmp_path.name
