"""A metric from what a user writes: a name with options, or his own code."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from edgekit.errors import UsageError
from edgekit.metrics import METRICS
from edgekit.metrics.base import MeanMetric, Metric
from edgekit.registry import pick, unknown_name

UserFunction = Callable[[Mapping[str, Any], Any], float]


class UserMetric(MeanMetric):
    """The mean of a user's function over the samples.

    Args:
        function: Takes a sample's outputs by name and its label; returns its figure, more
            being better unless the function has an attribute ``higher_is_better`` that is
            false.
    """

    kind = "outputs"

    def __init__(self, function: UserFunction) -> None:
        super().__init__()
        self._function = function
        self.higher_is_better = bool(getattr(function, "higher_is_better", True))

    def _score(self, actual: Any, expected: Any) -> float:
        return float(self._function(actual, expected))


def pick_metric(text: str) -> Metric:
    """Return a new metric.

    Args:
        text: A name in ``METRICS``, with options where it has some: ``top1``, ``topk:k=3``,
            ``miou:ignore=255,uncounted=10:11``. Or ``module:name`` of a ``Metric`` class that
            needs no argument, or of a function as ``UserMetric`` takes.

    Raises:
        UsageError: There is no such metric, option or code.
    """
    name, _, rest = text.partition(":")
    if name in METRICS:
        metric_class: type[Metric] = pick(METRICS, name, kind="metric").load()
        return metric_class(**_read_options(rest, metric_class, name))
    if not rest:
        raise UsageError(f"{unknown_name(name, METRICS, kind='metric')}, or give module:function")
    return _user_metric(name, rest)


def user_object(module: str, name: str, *, kind: str) -> Any:
    """Import what the user named ``module:name``; it runs his code.

    Raises:
        UsageError: It cannot be imported, or is not there.
    """
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, SyntaxError, ValueError) as error:
        raise UsageError(
            f"no {kind} {module}:{name}: {error}; give a name of the table, or an importable "
            "module:function (the current folder is not searched unless PYTHONPATH names it)"
        ) from error


def _user_metric(module: str, name: str) -> Metric:
    found = user_object(module, name, kind="metric")
    if isinstance(found, type) and issubclass(found, Metric):
        return found()
    if callable(found):
        return UserMetric(found)
    raise UsageError(
        f"{module}:{name} is a {type(found).__name__}; a function (outputs, label) -> float or a "
        "Metric class is expected"
    )


def _read_options(text: str, metric_class: type[Metric], name: str) -> dict[str, Any]:
    defaults = {
        key: parameter.default
        for key, parameter in inspect.signature(metric_class).parameters.items()
    }
    options: dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        key, _, value = item.partition("=")
        if key not in defaults:
            known = ", ".join(defaults) or "none"
            raise UsageError(f"metric {name!r} has no option {key!r}; it has: {known}")
        options[key] = _read_value(value, defaults[key], f"{name}:{key}")
    return options


def _read_value(text: str, default: object, what: str) -> int | float | tuple[int, ...]:
    try:
        if isinstance(default, tuple):
            return tuple(int(part) for part in text.split(":"))
        return float(text) if isinstance(default, float) else int(text)
    except ValueError as error:
        raise UsageError(f"{what}={text!r} is not a number; write such as {what}=5") from error
