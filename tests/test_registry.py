"""A name is looked up in a table; a wrong one is answered with the closest."""

from __future__ import annotations

import sys

import pytest

from edgekit.errors import MissingDependencyError, UsageError
from edgekit.registry import Entry, is_installed, pick, unknown_name

TABLE = {
    "tensorrt": Entry("nowhere:Session", needs=("no_such_library_a",), extra="tensorrt"),
    "onnxruntime": Entry("collections:OrderedDict"),
}


def test_a_name_is_found() -> None:
    assert pick(TABLE, "tensorrt", kind="runtime") is TABLE["tensorrt"]


def test_a_mistyped_name_is_answered_with_the_closest_and_all() -> None:
    with pytest.raises(UsageError) as caught:
        pick(TABLE, "tensortr", kind="runtime")

    assert str(caught.value) == (
        "no runtime named 'tensortr'; did you mean 'tensorrt'? choose from: tensorrt, onnxruntime"
    )


def test_a_name_unlike_all_is_answered_without_a_guess() -> None:
    assert unknown_name("zzz", ("cpu", "gpu"), kind="device") == (
        "no device named 'zzz'; choose from: cpu, gpu"
    )


def test_an_empty_name_is_not_found() -> None:
    with pytest.raises(UsageError, match="no runtime named ''"):
        pick(TABLE, "", kind="runtime")


def test_an_entry_loads_what_its_path_names() -> None:
    from collections import OrderedDict

    assert TABLE["onnxruntime"].load() is OrderedDict


def test_a_missing_library_is_named_with_the_line_that_installs_it() -> None:
    with pytest.raises(MissingDependencyError) as caught:
        TABLE["tensorrt"].load()

    assert str(caught.value) == (
        "no_such_library_a is not installed; run: pip install 'edgekit[tensorrt]'"
    )


def test_several_missing_libraries_are_all_named() -> None:
    entry = Entry("nowhere:x", needs=("no_such_a", "no_such_b|no_such_c"), extra="all")

    with pytest.raises(MissingDependencyError, match="no_such_a, no_such_b or no_such_c are not"):
        entry.load()


def test_one_of_the_alternatives_suffices() -> None:
    assert Entry("nowhere:x", needs=("no_such_library_a|json",)).missing() == ()


def test_asking_what_is_missing_imports_nothing() -> None:
    sys.modules.pop("this", None)  # a module that prints when it is imported

    assert Entry("this:s", needs=("this",)).missing() == ()
    assert "this" not in sys.modules


@pytest.mark.parametrize("name", ["no_such_library_a", "no_such_a.inner", "", "json.no_such"])
def test_what_is_not_there_is_not_installed(name: str) -> None:
    assert not is_installed(name)
