"""Every error has a code of its own and a line in the tree."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from edgekit import errors
from edgekit.errors import EdgeKitError, UnsupportedOperatorError

TREE_LINE = re.compile(r"^\s*[│├└─ ]*(\w+)\s+(EK\d{3})(?:\s+(\d))?", re.M)


def all_errors(base: type[EdgeKitError] = EdgeKitError) -> Iterator[type[EdgeKitError]]:
    yield base
    for kind in base.__subclasses__():
        yield from all_errors(kind)


ERRORS = [kind for kind in all_errors() if kind.__module__ == errors.__name__]
TREE = {match[1]: match for match in TREE_LINE.finditer(errors.__doc__ or "")}


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in ERRORS]

    assert len(codes) == len(set(codes))


def test_exit_statuses_of_the_branches_are_unique() -> None:
    statuses = [kind.exit_status for kind in (EdgeKitError, *EdgeKitError.__subclasses__())]

    assert len(statuses) == len(set(statuses))


def test_the_tree_lists_every_error_and_no_other() -> None:
    assert set(TREE) == {kind.__name__ for kind in ERRORS}


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_the_tree_tells_the_code(kind: type[EdgeKitError]) -> None:
    assert TREE[kind.__name__][2] == kind.code


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_the_tree_tells_the_exit_status_of_each_branch(kind: type[EdgeKitError]) -> None:
    told = TREE[kind.__name__][3]

    assert told == (str(kind.exit_status) if "exit_status" in vars(kind) else None)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_a_code_is_in_the_hundred_of_its_branch(kind: type[EdgeKitError]) -> None:
    parents = [base for base in kind.__mro__[1:] if issubclass(base, EdgeKitError)]

    assert not parents or parents[0] is EdgeKitError or parents[0].code[:3] == kind.code[:3]


def test_every_error_is_raised_by_its_own_name_only() -> None:
    public = {name for name, value in vars(errors).items() if isinstance(value, type)}

    assert public == {kind.__name__ for kind in ERRORS}


def test_an_unsupported_operator_names_node_reason_and_target() -> None:
    error = UnsupportedOperatorError(
        node="/head/Loop_3", op_type="Loop", reason="its count is not constant", target="tflite"
    )

    assert str(error) == ("tflite cannot run node '/head/Loop_3' (Loop): its count is not constant")
