"""What every runtime must do alike; iterates over the table of runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import ALL_RUNTIMES, SHAPE, BytesFiles, logical_specs, open_tiny, require

from edgekit.errors import InputError, SessionClosedError
from edgekit.runtimes import RUNTIME_FORMATS
from edgekit.runtimes.session import Session
from edgekit.tensor import DType

Array = np.ndarray[Any, Any]

pytestmark = pytest.mark.parametrize("runtime", ALL_RUNTIMES)


def pair(shape: tuple[int, ...] = SHAPE, dtype: str = "float32") -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(dtype) for name in ("a", "b")}


@dataclass(frozen=True)
class Mistake:
    """A wrong call and the whole text of its error, the same on every runtime."""

    id: str
    inputs: object
    message: str


TAKES = "this model takes: a float32 1x3x4x5, b float32 1x3x4x5"
MISTAKES = [
    Mistake(
        "unknown_name",
        {"a": pair()["a"], "bb": pair()["b"]},
        "no input named 'bb'; did you mean 'b'? choose from: a, b",
    ),
    Mistake("missing_name", {"a": pair()["a"]}, f"'b' is missing; {TAKES}"),
    Mistake("nothing", {}, f"'a', 'b' are missing; {TAKES}"),
    Mistake("extra_name", {**pair(), "c": pair()["a"]}, "no input named 'c'; choose from: a, b"),
    Mistake(
        "no_mapping", pair()["a"], f"run takes a mapping of names to arrays, not a ndarray; {TAKES}"
    ),
    Mistake(
        "wrong_size",
        {**pair(), "b": np.zeros((1, 3, 5, 5), np.float32)},
        "input 'b' has shape (1, 3, 5, 5); this model takes (1, 3, 4, 5): resize it, "
        "or convert the model again with --shape",
    ),
    Mistake(
        "wrong_rank",
        {**pair(), "b": np.zeros((3, 4, 5), np.float32)},
        "input 'b' has shape (3, 4, 5); this model takes (1, 3, 4, 5): resize it, "
        "or convert the model again with --shape",
    ),
    Mistake(
        "wrong_dtype",
        pair(dtype="float64"),
        "input 'a' has dtype float64; this model takes float32: convert it with .astype('float32')",
    ),
    Mistake(
        "no_array",
        {**pair(), "a": [1.0]},
        "input 'a' is a list; a numpy array is needed: numpy.asarray(value, 'float32')",
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.id)
@pytest.mark.parametrize("is_permuted", [False, True], ids=["plain", "permuted"])
def test_the_same_mistake_gives_the_same_words(
    runtime: str, mistake: Mistake, is_permuted: bool
) -> None:
    with open_tiny(runtime, is_permuted=is_permuted) as session:
        with pytest.raises(InputError) as caught:
            session.run(mistake.inputs)  # type: ignore[arg-type]

        assert str(caught.value) == mistake.message


@pytest.mark.parametrize("on_disk", [False, True], ids=["in_zip", "on_disk"])
@pytest.mark.parametrize("is_permuted", [False, True], ids=["plain", "permuted"])
def test_outputs_are_logical_however_the_artifact_stores_them(
    runtime: str, is_permuted: bool, on_disk: bool, tmp_path: Path
) -> None:
    inputs = pair()
    folder = tmp_path if on_disk else None
    with open_tiny(runtime, is_permuted=is_permuted, folder=folder) as session:
        outputs = session.run(inputs)

    np.testing.assert_array_equal(outputs["sum"], inputs["a"] + inputs["b"])
    np.testing.assert_array_equal(outputs["product"], inputs["a"] * inputs["b"])


def test_specs_are_logical_however_the_artifact_stores_them(runtime: str) -> None:
    with open_tiny(runtime, is_permuted=True) as session:
        assert session.inputs == logical_specs(("a", "b"))
        assert session.outputs == logical_specs(("sum", "product"))


def test_specs_follow_from_the_artifact_where_there_is_no_manifest(runtime: str) -> None:
    with open_tiny(runtime, is_permuted=True) as session:
        artifact = session.artifact
        bare = require(runtime).open(artifact, _files_of(session))

        assert bare.inputs == logical_specs(("a", "b"))


def test_artifact_without_tensors_gets_them_from_the_engine(runtime: str) -> None:
    with open_tiny(runtime) as session:
        plain = replace(session.artifact, inputs=(), outputs=())
        bare = require(runtime).open(plain, _files_of(session))

        assert [(spec.name, spec.dtype, spec.shape) for spec in bare.inputs] == [
            ("a", DType.FLOAT32, SHAPE),
            ("b", DType.FLOAT32, SHAPE),
        ]
        assert {spec.name for spec in bare.outputs} == {"sum", "product"}


def test_strided_and_read_only_inputs_are_taken(runtime: str) -> None:
    wide = np.random.default_rng(0).standard_normal((1, 3, 4, 10)).astype(np.float32)
    inputs = {"a": wide[..., ::2], "b": wide[..., 1::2].copy()}
    inputs["b"].flags.writeable = False
    with open_tiny(runtime) as session:
        outputs = session.run(inputs)

    np.testing.assert_array_equal(outputs["sum"], inputs["a"] + inputs["b"])


def test_a_result_does_not_change_with_the_next_call(runtime: str) -> None:
    first, second = pair(), {name: -array for name, array in pair().items()}
    with open_tiny(runtime) as session:
        result = session.run(first)["sum"]
        session.run(second)

    np.testing.assert_array_equal(result, first["a"] + first["b"])


@pytest.mark.parametrize("is_permuted", [False, True], ids=["plain", "permuted"])
@pytest.mark.parametrize("names", [("sum",), ("product",), ("sum", "product")], ids="+".join)
def test_buffers_are_filled_and_returned(
    runtime: str, is_permuted: bool, names: tuple[str, ...]
) -> None:
    inputs = pair()
    expected = {"sum": inputs["a"] + inputs["b"], "product": inputs["a"] * inputs["b"]}
    buffers = {name: np.full(SHAPE, np.nan, np.float32) for name in names}
    with open_tiny(runtime, is_permuted=is_permuted) as session:
        outputs = session.run(inputs, outputs=buffers)
        session.run({name: -array for name, array in inputs.items()})

    for name, values in expected.items():
        np.testing.assert_array_equal(outputs[name], values)
    assert all(outputs[name] is buffers[name] for name in names)


def test_large_buffers_are_filled_too(runtime: str) -> None:
    shape = (1, 3, 160, 160)  # 300 kB: over the size from which ONNX Runtime writes into it
    inputs = pair(shape)
    buffers = {"sum": np.full(shape, np.nan, np.float32)}
    with open_tiny(runtime, shape=shape) as session:
        outputs = session.run(inputs, outputs=buffers)

    assert outputs["sum"] is buffers["sum"]
    np.testing.assert_array_equal(outputs["sum"], inputs["a"] + inputs["b"])
    np.testing.assert_array_equal(outputs["product"], inputs["a"] * inputs["b"])


def test_strided_buffers_are_filled_too(runtime: str) -> None:
    inputs = pair()
    buffer = np.full((1, 3, 4, 10), np.nan, np.float32)[..., ::2]
    with open_tiny(runtime) as session:
        session.run(inputs, outputs={"sum": buffer})

    np.testing.assert_array_equal(buffer, inputs["a"] + inputs["b"])


def _read_only() -> Array:
    buffer = np.zeros(SHAPE, np.float32)
    buffer.flags.writeable = False
    return buffer


@dataclass(frozen=True)
class WrongBuffer:
    id: str
    buffers: Mapping[str, Any]
    message: str


@pytest.mark.parametrize(
    "wrong",
    [
        WrongBuffer(
            "unknown_name",
            {"summ": np.zeros(SHAPE, np.float32)},
            r"no output named 'summ'; did you mean 'sum'\? choose from: sum, product",
        ),
        WrongBuffer(
            "wrong_size", {"sum": np.zeros((1, 3, 4, 6), np.float32)}, r"has shape \(1, 3, 4, 6\)"
        ),
        WrongBuffer("wrong_dtype", {"sum": np.zeros(SHAPE)}, "has dtype float64; this model gives"),
        WrongBuffer("read_only", {"sum": _read_only()}, "is read-only"),
        WrongBuffer("no_array", {"sum": [0.0]}, "is a list; a numpy array is needed"),
    ],
    ids=lambda wrong: wrong.id,
)
def test_wrong_buffer_is_refused(runtime: str, wrong: WrongBuffer) -> None:
    with open_tiny(runtime) as session, pytest.raises(InputError, match=wrong.message):
        session.run(pair(), outputs=wrong.buffers)


@pytest.mark.parametrize("is_permuted", [False, True], ids=["plain", "permuted"])
def test_dynamic_batch_may_change_from_call_to_call(runtime: str, is_permuted: bool) -> None:
    with open_tiny(runtime, shape=("batch", 3, 4, 5), is_permuted=is_permuted) as session:
        for batch in (1, 4, 2):
            inputs = pair((batch, 3, 4, 5))

            np.testing.assert_array_equal(session.run(inputs)["sum"], inputs["a"] + inputs["b"])


def test_a_named_size_must_be_the_same_everywhere(runtime: str) -> None:
    inputs = {"a": pair((2, 3, 4, 5))["a"], "b": pair((3, 3, 4, 5))["b"]}
    with (
        open_tiny(runtime, shape=("batch", 3, 4, 5)) as session,
        pytest.raises(InputError, match="input 'b' has size 3 for 'batch', but 'a' has 2"),
    ):
        session.run(inputs)


def test_buffer_of_another_batch_than_the_result_is_refused(runtime: str) -> None:
    buffers = {"sum": np.zeros((3, 3, 4, 5), np.float32)}
    with (
        open_tiny(runtime, shape=("batch", 3, 4, 5)) as session,
        pytest.raises(InputError, match=r"has shape \(3, 3, 4, 5\).*gives \(2, 3, 4, 5\)"),
    ):
        session.run(pair((2, 3, 4, 5)), outputs=buffers)


def test_closed_session_says_so(runtime: str) -> None:
    session = open_tiny(runtime)
    session.close()
    session.close()

    for use in (session.run, session.run_async):
        with pytest.raises(SessionClosedError, match=f"the {runtime} session .* is closed"):
            use(pair())


def test_session_tells_what_it_is(runtime: str) -> None:
    with open_tiny(runtime) as session:
        assert session.runtime == runtime
        assert session.version[0].isdigit()
        assert session.artifact.format == RUNTIME_FORMATS[runtime][0]
        assert session.inference_precision == "fp32"
        assert session.reason


def _files_of(session: Session) -> BytesFiles:
    from tiny_models import CONTENT

    shape = session.artifact.inputs[0].shape or ()
    return BytesFiles(CONTENT[session.artifact.format](shape))
