"""The stage is gone after its work, whatever ended it, and signals are never lost."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest
from ctrl_c import ctrl_c_interrupts, run_in_child

from edgekit.pipeline.stage import stage_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")


def test_the_folder_is_gone_after_an_error() -> None:
    with pytest.raises(ValueError, match="on purpose"), stage_folder() as folder:
        (folder / "part").write_text("half")
        raise ValueError("on purpose")

    assert not folder.exists()


def test_a_signal_while_the_folder_is_made_comes_once_it_can_be_removed(tmp_path: Path) -> None:
    run_in_child("test_pipeline_stage", "interrupt_while_the_folder_is_made", tmp_path)

    assert list(tmp_path.iterdir()) == []


def interrupt_while_the_folder_is_made(folder: Path) -> None:
    make = tempfile.mkdtemp

    def make_and_interrupt(*, prefix: str) -> str:
        made = make(prefix=prefix, dir=folder)
        os.kill(os.getpid(), signal.SIGINT)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "mkdtemp", make_and_interrupt)
        with ctrl_c_interrupts(), pytest.raises(KeyboardInterrupt), stage_folder():
            pytest.fail("the signal must come before the work starts")
