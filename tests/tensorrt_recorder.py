"""A recorder in the shape of one TensorRT release: what is not offered fails, the rest notes.

Simulated: it is made from names and parameters that a real binding offers
(``tensorrt_api.describe``), so it proves that each call of the adapter exists there with those
arguments, and nothing about what the call does.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from edgekit.runtimes.tensorrt.api import Api

Call = tuple[str, tuple[Any, ...]]


class Recorder:
    """A module of one release.

    Args:
        offers: Of ``describe``.
        answers: By ``"Class.member"``, what it gives back: a value, or a function of its
            arguments; others give True, 0, "" or an object, as declared.

    Attributes:
        calls: Each call and each property that was set, in order.
    """

    def __init__(self, offers: Mapping[str, Any], answers: Mapping[str, Any]) -> None:
        self.calls: list[Call] = []
        self.answers = dict(answers)
        enums = {name: enum.IntEnum(name, members) for name, members in offers["enums"].items()}
        self._kinds = {
            name: self._class(name, members) for name, members in offers["classes"].items()
        }
        severities = {name: index for index, name in enumerate(offers["severities"])}
        self._kinds["ILogger"].Severity = enum.IntEnum("Severity", severities)
        functions = {
            name: self._function(name, overloads) for name, overloads in offers["functions"].items()
        }
        self.module = SimpleNamespace(
            __version__=offers["version"], **{**self._kinds, **enums, **functions}
        )
        self.module.Dims = list
        self.api = Api(self.module, "full")

    def called(self, name: str) -> list[tuple[Any, ...]]:
        """Return the arguments of each call of that name."""
        return [arguments for called, arguments in self.calls if called == name]

    def _class(self, kind: str, members: Mapping[str, Any]) -> Any:
        body: dict[str, Any] = {"__setattr__": _refuse_unknown(members)}
        for name, member in members.items():
            if member == "property":
                body[name] = self._property(f"{kind}.{name}")
            elif name == "__init__":
                body[name] = self._function(f"{kind}.{name}", member or ["-> None"], bound=True)
            else:
                body[name] = self._function(f"{kind}.{name}", member, bound=True)
        return type(kind, (), body)

    def _property(self, name: str) -> property:
        def get(made: Any) -> Any:
            return self.answers.get(name, 0)

        def put(made: Any, value: Any) -> None:
            self.calls.append((name, (value,)))

        return property(get, put)

    def _function(
        self, name: str, overloads: Sequence[str], *, bound: bool = False
    ) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            given = arguments[1:] if bound else arguments
            returns = _match(name, overloads, len(given), named)
            self.calls.append((name, (*given, *named.values())))
            if name in self.answers:
                answer = self.answers[name]
                return answer(*given) if callable(answer) else answer
            plain = {"bool": True, "int": 0, "str": "", "None": None}
            return plain[returns] if returns in plain else self._made(returns)

        return call

    def _made(self, kind: str) -> Any:
        # A C++ name, where the class was bound after the method.
        name = kind.rpartition("::")[2]
        found = self._kinds.get(name) or self._kinds.get(name.removeprefix("I"))
        return [] if found is None else found.__new__(found)


def _refuse_unknown(members: Mapping[str, Any]) -> Callable[[Any, str, Any], None]:
    def put(made: Any, name: str, value: Any) -> None:
        if name not in members:  # as pybind11's classes do
            raise AttributeError(f"{type(made).__name__} has no attribute {name!r}")
        object.__setattr__(made, name, value)

    return put


def _match(name: str, overloads: Sequence[str], count: int, named: Mapping[str, Any]) -> str:
    """Return what the first overload that takes these arguments returns."""
    for overload in overloads:
        before, _, returns = overload.rpartition("->")
        parameters = [part.strip() for part in before.split(",") if part.strip()]
        names = [part.rstrip("=") for part in parameters]
        needed = [part for part in parameters[count:] if not part.endswith("=")]
        fits = count <= len(names) and set(named) <= set(names[count:])
        if fits and set(needed) <= set(named):
            return returns.strip()
    raise TypeError(f"{name}({count} arguments, {sorted(named)}); it takes {list(overloads)}")
