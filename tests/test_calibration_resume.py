"""A pass over a trained model, stopped by a signal in the middle, ends as if it had not been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekit.cli.main import main

DIGITS = Path(__file__).parent.parent / "examples" / "digits"
STEPS = "letterbox,gray,scale=1/255,mean=0.3,std=0.37"
SAMPLES = 60
SLOW_FROM = 30
DEADLINE_S = 60

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals are POSIX"),
    pytest.mark.skipif(not DIGITS.exists(), reason="examples/digits is not beside the tests"),
]

# The digits; from the thirtieth on slowly, where a file asks for that.
_MODULE = f"""
import time
from pathlib import Path
import numpy as np

def frames():
    with np.load({str(DIGITS / "calibration.npz")!r}) as file:
        every = file["frames"][:{SAMPLES}]
    for number, frame in enumerate(every):
        if number >= {SLOW_FROM} and Path("slow").exists():
            Path("reached").touch()
            time.sleep(0.1)
        yield frame
"""

# The command; with its state saved after every sample where a number of seconds says so.
_COMMAND = """
import functools, sys
from edgekit.cli.main import main
from edgekit.pipeline import calibration
if sys.argv[1]:
    every_s = float(sys.argv[1])
    calibration.collect = functools.partial(calibration.collect, save_every_s=every_s)
sys.exit(main(sys.argv[2:]))
"""


@dataclass(frozen=True)
class Case:
    id: str
    number: signal.Signals
    status: int
    save_every_s: str = ""


CASES = (
    Case("ctrl_c", signal.SIGINT, status=130),
    Case("sigterm", signal.SIGTERM, status=143),
    # Nothing can be done then any more; the last state lies there.
    Case("sigkill", signal.SIGKILL, status=-9, save_every_s="0"),
)


def words(output: str) -> list[str]:
    command = ["calibrate", str(DIGITS / "digits.onnx"), "-c", "slow_digits:frames"]
    return [*command, "--preprocess", STEPS, "--resume", "-o", output]


def stop_in_the_middle(case: Case, folder: Path) -> int:
    """Run the command in a process of its own, send the signal, and return its status."""
    (folder / "slow").touch()
    command = [sys.executable, "-c", _COMMAND, case.save_every_s, *words("stopped.json")]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    deadline_s = time.monotonic() + DEADLINE_S
    while not (folder / "reached").exists() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(case.number)
    status = process.wait(DEADLINE_S)
    (folder / "slow").unlink()
    return status


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_stopped_pass_goes_on_to_the_same_ranges(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_digits.py").write_text(_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    status = stop_in_the_middle(case, tmp_path)
    with np.load(tmp_path / "stopped.json.state") as state:
        known = json.loads(str(state["header"]))["samples"]
    resumed, whole = main(words("stopped.json")), main(words("whole.json"))

    assert (status, resumed, whole) == (case.status, 0, 0)
    assert SLOW_FROM <= known < SAMPLES
    assert Path("stopped.json").read_bytes() == Path("whole.json").read_bytes()
    assert not [path for path in tmp_path.iterdir() if "state" in path.name]
