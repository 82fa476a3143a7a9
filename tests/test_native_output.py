"""An engine's one-time notice is dropped, all else that it writes to stderr is kept."""

from __future__ import annotations

import os

import pytest

from edgekit.runtimes.native_output import without_native_lines


def test_only_the_unwanted_line_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    with without_native_lines("INFO: Created"):
        os.write(2, b"INFO: Created a delegate\nERROR: out of memory\n")

    assert capfd.readouterr().err == "ERROR: out of memory\n"


def test_what_was_said_before_a_failure_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError), without_native_lines("INFO"):
        os.write(2, b"why it failed\n")
        raise ValueError

    assert capfd.readouterr().err == "why it failed\n"


def test_stderr_works_again_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    with without_native_lines("INFO"):
        pass
    os.write(2, b"INFO: later\n")

    assert capfd.readouterr().err == "INFO: later\n"
