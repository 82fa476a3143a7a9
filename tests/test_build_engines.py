"""``edgekit build``, the contest of precisions, and serve-now-swap-later: simulated, no GPU.

The children are real processes, the adapter, store and session are the real ones; CUDA's
library, TensorRT's module and its builder are simulated.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cuda_simulation import simulated_cuda
from networks.builder import NetBuilder
from tensorrt_simulation import simulated_api

from edgekit.bundle import Bundle
from edgekit.calibration.contract import Promise
from edgekit.cli import build as build_command
from edgekit.cli.main import main
from edgekit.errors import RuntimeUnavailableError, TensorRtError, UsageError, VerificationError
from edgekit.pipeline import Terms, convert
from edgekit.preprocess import Preprocess
from edgekit.runtimes import usable
from edgekit.runtimes.engines import DeviceFacts, EngineStore
from edgekit.runtimes.select import load
from edgekit.runtimes.tensorrt import prepare
from edgekit.runtimes.tensorrt import session as session_module
from edgekit.runtimes.tensorrt.contest import Entrant, contenders, hold_contest, pick_winner
from edgekit.runtimes.tensorrt.machine import Machine
from edgekit.runtimes.tensorrt.prepare import EngineOptions
from edgekit.runtimes.tensorrt.promise import judge_by
from edgekit.runtimes.timing import Latency
from edgekit.runtimes.warm import STAYED, SWAPPED, WarmSession

TESTS = Path(__file__).parent
OFFERS = json.loads((TESTS / "data" / "tensorrt_api.json").read_text())
FACTS = DeviceFacts("Simulated GPU", "8.7", "", "12.6", "MAXN")
SHAPE = (1, 3, 8, 8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import onnx

    net = NetBuilder("built")
    net.input("x", SHAPE)
    weight = net.constant(net.rng.normal(0, 0.2, (4, 3, 3, 3)).astype(np.float32))
    net.nodes.append(onnx.helper.make_node("Conv", ["x", weight], ["y"], name="conv"))
    net.outputs.append(
        onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4, 6, 6])
    )
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(net.model(), path)
    return path


@pytest.fixture(scope="module")
def bundle_path(model: Path) -> Path:
    output = model.with_suffix(".edgekit")
    convert(model, targets=["tensorrt:fp32", "tensorrt:fp16", "onnx"], output=output)
    return output


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineStore]:
    """A machine with a simulated GPU, and an empty store."""
    cuda = simulated_cuda()
    api = simulated_api(OFFERS[sorted(OFFERS)[0]], cuda)
    machine = Machine(api, cuda, 0, cuda.properties(), replace(FACTS, tensorrt=str(api.release)))
    for module in (session_module, build_command):
        monkeypatch.setattr(module.Machine, "here", lambda edition=None, store=None: machine)
    monkeypatch.setattr(usable, "_why_no_gpu", lambda runtime: "")
    monkeypatch.setattr(prepare, "_BUILDER", "simulated_builder")
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path))
    yield EngineStore()


FEED = {"x": np.random.default_rng(3).normal(0, 1, SHAPE).astype(np.float32)}


def test_the_command_builds_proves_times_and_keeps(
    store: EngineStore, bundle_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["build", str(bundle_path), "-a", "tensorrt-fp32", "-a", "tensorrt-fp16"])

    text, errors = capsys.readouterr()
    assert status == 0, errors
    assert "Simulated GPU, SM 8.7, TensorRT 8.5.3.1, CUDA 12.6" in text
    assert text.count("passed") == 2
    assert "as fast as" in text
    assert sum(bool(item.facts["kept"]) for item in store.entries()) == 1


def test_its_json_says_all_of_it(
    store: EngineStore, bundle_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["build", str(bundle_path), "--json"])

    document = json.loads(capsys.readouterr().out)
    assert document["device"]["power_mode"] == "MAXN"
    assert document["winner"] == "tensorrt-fp16"
    entrant = document["entrants"][0]
    assert entrant["replay"]["status"] == "passed"
    assert entrant["latency"]["calls"] > 4
    assert entrant["facts"]["peak_mib"] > 0


def test_an_engine_that_is_there_is_not_built_again(
    store: EngineStore, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["build", str(bundle_path), "--json"])
    monkeypatch.setenv("SIMULATED_BUILD", "refuse")

    assert main(["build", str(bundle_path), "--json"]) == 0
    assert len(store.entries()) == 1


def test_a_build_that_memory_killed_is_tried_once_more_with_less(
    store: EngineStore,
    bundle_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SIMULATED_BUILD", "kill")

    status = main(["build", str(bundle_path), "-a", "tensorrt-fp32"])

    assert status == 0
    assert "memory was short; it was built with less workspace" in capsys.readouterr().out
    assert store.entries()[0].facts["retried_smaller"] is True


def test_an_engine_that_is_wrong_is_out(
    store: EngineStore, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATED_BUILD", "wrong:fp16")
    bundle = Bundle.open(bundle_path)

    contest = hold_contest(
        bundle,
        contenders(bundle, ("tensorrt-fp32", "tensorrt-fp16")),
        store=store,
        options=EngineOptions(),
    )

    assert contest.winner == "tensorrt-fp32"
    assert "tensorrt-fp16 is out: the goldens do not replay" in contest.reason


def test_none_that_is_right_is_a_failure(
    store: EngineStore, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATED_BUILD", "wrong")
    bundle = Bundle.open(bundle_path)

    with pytest.raises(VerificationError, match="no engine gives the right answers"):
        hold_contest(bundle, contenders(bundle), store=store, options=EngineOptions())


def test_none_that_builds_is_a_failure_with_nvidias_words(
    store: EngineStore, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATED_BUILD", "refuse")
    bundle = Bundle.open(bundle_path)

    with pytest.raises(TensorRtError, match=r"(?s)no engine could be built.*at node conv"):
        hold_contest(bundle, contenders(bundle), store=store, options=EngineOptions())
    assert store.entries() == ()


def test_unknown_artifacts_are_refused_with_the_closest(bundle_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'tensorrt-fp16'"):
        contenders(Bundle.open(bundle_path), ("tensorrt-fp61",))


def _entrant(precision: str, median_ms: float) -> Entrant:
    latency = Latency(10, median_ms, median_ms, median_ms, median_ms, median_ms)
    return Entrant(f"tensorrt-{precision}", precision, {}, latency=latency)


def test_of_two_that_are_alike_the_one_nearer_to_float_is_kept() -> None:
    winner, reason = pick_winner([_entrant("fp16", 1.03), _entrant("int8", 1.0)])

    assert winner == "tensorrt-fp16"
    assert "as fast as tensorrt-int8" in reason


def test_the_slower_one_is_never_the_winner() -> None:
    winner, reason = pick_winner([_entrant("fp16", 2.0), _entrant("int8", 1.0)])

    assert winner == "tensorrt-int8"
    assert "2.00 times as fast" in reason


def test_load_takes_what_was_kept(store: EngineStore, bundle_path: Path) -> None:
    main(["build", str(bundle_path), "-a", "tensorrt-fp32", "-a", "tensorrt-fp16", "--json"])
    kept = next(item for item in store.entries() if item.facts["kept"])

    with load(bundle_path, device="tensorrt", warm="never") as session:
        assert session.artifact.name == kept.facts["artifact"]


def test_auto_takes_the_gpu_only_where_its_engine_is_built(
    store: EngineStore, bundle_path: Path
) -> None:
    with load(bundle_path) as before:
        assert before.runtime != "tensorrt"
        assert "edgekit build" in before.reason
    main(["build", str(bundle_path), "--json"])
    with load(bundle_path) as after:
        assert after.runtime == "tensorrt"


def test_serve_now_and_swap_later(store: EngineStore, bundle_path: Path) -> None:
    with (
        load(bundle_path, device="onnxruntime", artifact="onnx-fp32") as reference,
        load(bundle_path, device="tensorrt", warm="background") as session,
    ):
        assert isinstance(session, WarmSession)
        assert session.runtime in ("onnxruntime", "openvino")
        first = session.run(FEED)["y"]
        state = session.wait(60)
        second = session.run(FEED)["y"]

        assert state.stage == SWAPPED
        assert session.runtime == "tensorrt"
        expected = reference.run(FEED)["y"]
        assert np.allclose(first, expected, atol=1e-5)
        assert np.allclose(second, expected, atol=1e-2)


def test_a_wrong_engine_is_never_swapped_in(
    store: EngineStore, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATED_BUILD", "wrong")

    with load(bundle_path, device="tensorrt", warm="background") as session:
        assert isinstance(session, WarmSession)
        state = session.wait(60)

        assert state.stage == STAYED
        assert "goldens do not replay" in state.detail
        assert session.runtime != "tensorrt"


def test_closing_ends_the_builders_process(
    store: EngineStore, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATED_BUILD", "slow")
    session = load(bundle_path, device="tensorrt", warm="background")
    assert isinstance(session, WarmSession)
    while "build" not in session.state.detail:
        time.sleep(0.02)

    start = time.monotonic()
    session.close()

    assert time.monotonic() - start < 4  # the build takes 5 s
    assert store.entries() == ()
    assert not list(store.root.glob(".*.tmp"))


def test_once_built_there_is_nothing_to_warm(store: EngineStore, bundle_path: Path) -> None:
    main(["build", str(bundle_path), "--json"])

    with load(bundle_path, device="tensorrt", warm="background") as session:
        assert not isinstance(session, WarmSession)
        assert session.runtime == "tensorrt"


def test_a_plain_file_cannot_be_warmed(store: EngineStore, model: Path) -> None:
    with pytest.raises(UsageError, match="needs a bundle"):
        load(model, device="tensorrt", warm="background")


def test_the_engines_are_listed_and_pruned(
    store: EngineStore, bundle_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["build", str(bundle_path), "--json"])
    capsys.readouterr()

    main(["engines", "list"])
    listed = capsys.readouterr().out
    main(["engines", "prune", "--all"])
    pruned = capsys.readouterr().out

    assert "Simulated GPU, MAXN" in listed and "kept" in listed
    assert pruned.startswith("deleted 1 engine")
    assert store.entries() == ()


@pytest.mark.parametrize("words", [["prune"], ["list", "--all"], ["prune", "--max-size", "2X"]])
def test_engines_says_what_is_wrong_with_its_words(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["engines", *words]) == 2
    assert "EK100" in capsys.readouterr().err


def test_without_a_gpu_every_way_ends_in_one_clear_line(bundle_path: Path) -> None:
    for words in (
        ["build", str(bundle_path)],
        ["run", str(bundle_path), "--device", "tensorrt", "--input", str(bundle_path)],
        ["bench", str(bundle_path), "--device", "tensorrt"],
        ["verify", str(bundle_path), "--device", "tensorrt"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "edgekit", *words], capture_output=True, text=True, check=False
        )
        if "EK" not in done.stderr:
            pytest.skip("there is a GPU here")
        assert done.returncode in (2, 3, 6), words
        assert "Traceback" not in done.stderr
        assert "GPU" in done.stderr or "not installed" in done.stderr


def test_a_gpu_that_is_not_there_is_named_by_load(bundle_path: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match="no NVIDIA GPU"):
        load(bundle_path, device="tensorrt")


def test_ctrl_c_leaves_no_engine_and_no_child(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "build.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(TESTS)!r})\n"
        "from pathlib import Path\n"
        "from edgekit.runtimes.tensorrt import prepare\n"
        "from edgekit.runtimes.tensorrt.release import Release\n"
        "from edgekit.runtimes.tensorrt.spec import BuildOptions\n"
        "from edgekit.bundle import Bundle\n"
        "from edgekit.runtimes.engines import DeviceFacts, EngineStore\n"
        "prepare._BUILDER = 'simulated_builder'\n"
        f"bundle = Bundle.open(Path({str(bundle_path)!r}))\n"
        "artifact = bundle.artifact('tensorrt-fp32')\n"
        "wanted = prepare.want(artifact, bundle.files(artifact), release=Release.parse('10.3.0'),\n"
        "    device=DeviceFacts('g', '8.7', '10.3.0', '12.6'), options=BuildOptions(),\n"
        f"    folder=Path({str(tmp_path)!r}))\n"
        "prepare.get_engine(wanted, EngineStore(), watch=lambda s: print(s, flush=True))\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(TESTS),
        "SIMULATED_BUILD": "slow",
        "EDGEKIT_CACHE": str(tmp_path / "cache"),
    }
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    ) as child:
        assert child.stdout is not None
        while "build" not in (child.stdout.readline() or "build"):
            pass
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=30)

    left = [path.name for path in (tmp_path / "cache" / "engines").iterdir()]
    assert [name for name in left if name.endswith((".plan", ".json", ".tmp"))] == []


DIGITS = TESTS.parent / "examples" / "digits"


@pytest.fixture(scope="module")
def promised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that promises 2 % of top-1."""
    output = tmp_path_factory.mktemp("promised") / "digits.edgekit"
    terms = Terms(
        calibration=DIGITS / "calibration.npz",
        validation=DIGITS / "heldout.npz",
        metric="top1",
        promise=Promise.parse("2%"),
        validation_samples=60,
        advise=False,
    )
    steps = Preprocess.parse("letterbox,gray,scale=1/255,mean=0.3,std=0.37")
    convert(
        DIGITS / "digits.onnx",
        targets=["tensorrt:int8", "tensorrt:fp16", "onnx"],
        output=output,
        preprocess={"": steps},
        labels=DIGITS / "labels.txt",
        terms=terms,
    )
    return output


def test_an_engine_that_keeps_the_promise_here_stays(
    store: EngineStore, promised: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--validation", str(DIGITS / "heldout.npz"), "--limit", "60", "--json"]

    status = main(["build", str(promised), *words])

    document = json.loads(capsys.readouterr().out)
    assert status == 0
    assert [item["why_out"] for item in document["entrants"]] == ["", ""]


def test_an_engine_that_breaks_the_promise_is_out(
    store: EngineStore, promised: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(promised)
    judge = judge_by(bundle, DIGITS / "heldout.npz", limit=60)
    always_wrong = {"probabilities": np.eye(10, dtype=np.float32)[:1]}
    monkeypatch.setattr(
        session_module.TensorRtSession, "run", lambda self, inputs, outputs=None: always_wrong
    )

    with pytest.raises(VerificationError):
        hold_contest(bundle, contenders(bundle), store=store, options=EngineOptions())
    monkeypatch.undo()
    with load(bundle, artifact="onnx-fp32", device="onnxruntime") as session:
        monkeypatch.setattr(type(session), "run", lambda self, inputs, outputs=None: always_wrong)
        assert "2.00% is promised" in judge(session)


def test_a_bundle_that_promises_nothing_has_nothing_to_measure(
    store: EngineStore, bundle_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["build", str(bundle_path), "--validation", str(DIGITS / "heldout.npz")])

    assert status == 2
    assert "promises no accuracy" in capsys.readouterr().err
