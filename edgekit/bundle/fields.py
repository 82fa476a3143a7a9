"""JSON values that know where they stand, so that an error names it: ``$.inputs[0].dtype``."""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from edgekit.bundle.limits import MAX_MANIFEST_DEPTH
from edgekit.errors import BundleFormatError, ShapeError, UsageError

Value = TypeVar("Value")

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# A terminal obeys escape sequences, and names and labels are shown on terminals.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SHOWN = 80
_REPR = reprlib.Repr()  # bounded in depth and length, whatever the value
_REPR.maxstring = _SHOWN
_WHOLE_LIMIT = 2**63
_TOO_DEEP = f"at most {MAX_MANIFEST_DEPTH} levels of nesting"


@dataclass(frozen=True)
class Field:
    """A value of a JSON document.

    Args:
        value: As the json module gives it.
        path: Where it stands; ``$`` is the document.
    """

    value: Any
    path: str = "$"

    def fault(self, expected: str) -> BundleFormatError:
        """Return the error that says what stands here and what should."""
        return BundleFormatError(
            f"manifest.json is malformed: {self.path} is {_REPR.repr(self.value)}; "
            f"expected {expected}"
        )

    def key(self, name: str) -> Field:
        """Return the value under a key that must be there."""
        found = self.maybe(name)
        if found is None:
            raise BundleFormatError(
                f"manifest.json is malformed: {self.path}{_step(name)} is missing"
            )
        return found

    def maybe(self, name: str) -> Field | None:
        """Return the value under a key, or None where it is absent or null."""
        value = self._mapping().get(name)
        return None if value is None else Field(value, self.path + _step(name))

    def each(self) -> list[Field]:
        """Return the elements of a list."""
        if not isinstance(self.value, list):
            raise self.fault("a list")
        return [Field(item, f"{self.path}[{index}]") for index, item in enumerate(self.value)]

    def pairs(self) -> dict[str, Field]:
        """Return the values of an object by key."""
        return {
            name: Field(value, self.path + _step(name)) for name, value in self._mapping().items()
        }

    def text(self) -> str:
        """Return a text."""
        if not isinstance(self.value, str):
            raise self.fault("a text")
        return self.value

    def number(self) -> float:
        """Return a finite number."""
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            raise self.fault("a number")
        try:
            return float(self.value)
        except OverflowError:
            raise self.fault("a number that fits 64 bits") from None

    def whole(self) -> int:
        """Return a whole number of at most 64 bits."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.fault("a whole number")
        if not -_WHOLE_LIMIT <= self.value < _WHOLE_LIMIT:
            raise self.fault("a number that fits 64 bits")
        return self.value

    def make(self, build: Callable[[], Value]) -> Value:
        """Return what ``build`` makes of this value, its complaint told with the place.

        Raises:
            BundleFormatError: ``build`` found the value malformed.
        """
        try:
            return build()
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise self._complaint(error) from error
        except (ShapeError, UsageError) as error:
            raise self._complaint(error) from error

    def _complaint(self, error: Exception) -> BundleFormatError:
        said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        return BundleFormatError(f"manifest.json is malformed: {self.path}: {said}")

    def _mapping(self) -> Mapping[str, Any]:
        if not isinstance(self.value, dict):
            raise self.fault("an object")
        return self.value


def parse_json(data: bytes) -> Field:
    """Return the document, every value of which is harmless: finite, not too deep, printable.

    Raises:
        BundleFormatError: It is not JSON, or holds one key twice, NaN, infinity, control
            characters, or is nested too deep.
    """
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise BundleFormatError(
            f"manifest.json is nested deeper than {MAX_MANIFEST_DEPTH} levels; "
            "it was not written by EdgeKit"
        ) from None
    except ValueError as error:  # json.JSONDecodeError and UnicodeDecodeError are such
        raise BundleFormatError(
            f"manifest.json is not valid JSON: {error}; copy or convert the bundle again"
        ) from error
    _check_values(value)
    return Field(value)


def _check_values(root: Any) -> None:
    # Iterators on a stack: recursion would go as deep, and a list of all values grow as long,
    # as the author of the file likes.
    trail: list[str] = []
    levels: list[Iterator[tuple[str, Any]]] = [iter([("$", root)])]
    while levels:
        step, value = next(levels[-1], (None, None))
        if step is None:
            levels.pop()
            continue
        trail[len(levels) - 1 :] = [step]
        fault = _fault_of(value) if len(levels) <= MAX_MANIFEST_DEPTH else _TOO_DEEP
        if fault:
            raise Field(value, "".join(trail)).fault(fault)
        if isinstance(value, (list, dict)):
            levels.append(_children(value))


def _children(value: list[Any] | dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield f"[{index}]", item
        return
    for key, item in value.items():
        yield _step(key), key
        yield _step(key), item


def _fault_of(value: object) -> str:
    if isinstance(value, str) and _CONTROL.search(value):
        return "a text without control characters"
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    return ""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:_SHOWN]!r} stands twice in one object")
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _step(name: str) -> str:
    return f".{name}" if _PLAIN_KEY.fullmatch(name) else f"[{name[:_SHOWN]!r}]"
