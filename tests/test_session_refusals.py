"""What no runtime opens, and what each says; iterates over the table of runtimes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_models import (
    ALL_RUNTIMES,
    CONTENT,
    SHAPE,
    BytesFiles,
    logical_specs,
    open_tiny,
    require,
    tensorrt_recipe,
)

from edgekit.artifact import Artifact
from edgekit.errors import EngineError, MissingDependencyError
from edgekit.registry import Entry
from edgekit.runtimes import RUNTIME_FORMATS, RUNTIMES
from edgekit.runtimes.session import Session
from edgekit.tensor import DType, Layout, TensorSpec

pytestmark = pytest.mark.parametrize("runtime", ALL_RUNTIMES)


def test_garbage_is_an_error_with_the_engines_words(runtime: str) -> None:
    artifact = Artifact(RUNTIME_FORMATS[runtime][0], "fp32", {"model": "x"}, (), ())
    words = f"{runtime} cannot load {artifact.name}: ."
    if runtime == "tensorrt":  # the builder refuses it, before there is anything to load
        artifact, words = replace(artifact, recipe=tensorrt_recipe()), "TensorRT .* failed in ."

    with pytest.raises(EngineError, match=words):
        require(runtime).open(artifact, BytesFiles({"model": b"garbage" * 50, "weights": b""}))


def test_an_engines_words_are_on_one_line(runtime: str) -> None:
    if runtime == "tensorrt":
        pytest.skip("its builder refuses, in a process that logs a line for each complaint")
    artifact = Artifact(RUNTIME_FORMATS[runtime][0], "fp32", {"model": "x"}, (), ())

    with pytest.raises(EngineError) as caught:
        require(runtime).open(artifact, BytesFiles({"model": b"garbage" * 50, "weights": b""}))

    assert len(str(caught.value).splitlines()) == 1


def test_manifest_of_another_file_is_refused(runtime: str) -> None:
    with open_tiny(runtime) as session:
        artifact = session.artifact
        other = replace(artifact, inputs=logical_specs(("x", "b")))

        with pytest.raises(EngineError, match=r"\['a', 'b'\].*\['x', 'b'\]"):
            require(runtime).open(other, _files_of(session))


def test_manifest_of_another_dtype_is_refused(runtime: str) -> None:
    with open_tiny(runtime) as session:
        artifact = session.artifact
        integers = tuple(TensorSpec(name, DType.INT8, SHAPE, Layout.NCHW) for name in ("a", "b"))
        other = replace(artifact, inputs=integers)

        with pytest.raises(EngineError, match=r"input 'a' is float32.*manifest's is int8"):
            require(runtime).open(other, _files_of(session))


def test_missing_engine_is_named_with_the_line_that_installs_it(
    runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = RUNTIMES[runtime]
    absent = Entry(entry.path, ("not_installed_anywhere",), entry.extra, entry.summary)

    with pytest.raises(MissingDependencyError, match=rf"pip install 'edgekit\[{entry.extra}\]'"):
        absent.load()


def _files_of(session: Session) -> BytesFiles:
    shape = session.artifact.inputs[0].shape or ()
    return BytesFiles(CONTENT[session.artifact.format](shape))
