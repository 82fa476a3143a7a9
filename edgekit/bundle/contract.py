"""What a quantized model promised, what was measured, and what was tried to get there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edgekit.bundle.fields import Field

MEASURED, SIMULATED = "measured", "simulated"
_STATES = (MEASURED, SIMULATED)
_ROUNDING = 1e-9


@dataclass(frozen=True)
class ContractFigure:
    """What one artifact measured.

    Args:
        artifact: Its name.
        runtime: What ran it, with its version.
        status: ``"measured"`` on its own runtime, or ``"simulated"``: that is not on the
            converting machine, and ONNX Runtime ran its graph of Q/DQ pairs.
        value: The metric.
        lost: Against the float model, in the promise's unit; below 0 is a gain.
        latency_ms: Of a sample in the engine, mean over the validation; None unknown.
        interval: Where the loss lies with 95 % confidence on other samples of the kind, in the
            promise's unit: lower and upper end; None unknown.
    """

    artifact: str
    runtime: str
    status: str
    value: float
    lost: float
    latency_ms: float | None = None
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.status not in _STATES:
            raise ValueError(f"status {self.status!r} is none of {', '.join(_STATES)}")
        if not (math.isfinite(self.value) and math.isfinite(self.lost)):
            raise ValueError(f"value {self.value} and loss {self.lost} are not finite")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "artifact": self.artifact,
            "runtime": self.runtime,
            "status": self.status,
            "value": self.value,
            "lost": self.lost,
            "latency_ms": self.latency_ms,
            "interval": None if self.interval is None else list(self.interval),
        }

    @classmethod
    def read(cls, field: Field) -> ContractFigure:
        """Read what ``to_json`` wrote."""
        latency = field.maybe("latency_ms")
        texts = {name: field.key(name).text() for name in ("artifact", "runtime", "status")}
        value, lost = field.key("value").number(), field.key("lost").number()
        time_ms = None if latency is None else latency.number()
        interval = _interval(field)
        return field.make(
            lambda: cls(**texts, value=value, lost=lost, latency_ms=time_ms, interval=interval)
        )


@dataclass(frozen=True)
class ContractPoint:
    """One way to run the model on the converting machine: accuracy against latency.

    Args:
        runtime: Name of the runtime.
        precision: What it computes in: ``"fp32"``, ``"bf16"``, ``"int8"``.
        value: The metric.
        latency_ms: Median of one call, timed in turns with the others on that runtime.
    """

    runtime: str
    precision: str
    value: float
    latency_ms: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "runtime": self.runtime,
            "precision": self.precision,
            "value": self.value,
            "latency_ms": self.latency_ms,
        }

    @classmethod
    def read(cls, field: Field) -> ContractPoint:
        """Read what ``to_json`` wrote."""
        runtime, precision = field.key("runtime").text(), field.key("precision").text()
        value, time_ms = field.key("value").number(), field.key("latency_ms").number()
        return cls(runtime, precision, value, time_ms)


@dataclass(frozen=True)
class ContractStep:
    """One step of the search.

    Args:
        recipe: What was done, in words.
        lost: By artifact name; an artifact that gave no number is left out, and those that were
            not measured: the others had shown that the step is of no use.
        int8_share: Share of the multiplications that are integers, 0 to 1.
        seconds: It took.
    """

    recipe: str
    lost: dict[str, float]
    int8_share: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "recipe": self.recipe,
            "lost": self.lost,
            "int8_share": self.int8_share,
            "seconds": self.seconds,
        }

    @classmethod
    def read(cls, field: Field) -> ContractStep:
        """Read what ``to_json`` wrote."""
        lost = {name: item.number() for name, item in field.key("lost").pairs().items()}
        share, seconds = field.key("int8_share").number(), field.key("seconds").number()
        return cls(field.key("recipe").text(), lost, share, seconds)


@dataclass(frozen=True)
class Contract:
    """A promise that was kept.

    Args:
        limit: Largest loss that was allowed.
        is_relative: Whether a loss is a share of the float model's value.
        metric: As ``pick_metric`` takes it, or ``"agreement: NAME"`` with the float model.
        samples: What it was measured on, in words.
        baseline: The float model's value.
        higher_is_better: Of the metric.
        figures: One an artifact; each keeps the promise.
        recipe: How the artifacts were made, in words.
        float_nodes: Names of nodes that were put back to float, by artifact.
        steps: What was tried, in order.
        sensitivity: Per layer, what quantizing it alone costs, JSON-ready; empty where the
            search did not need it.
        sensitivity_on: The metric, the samples and the runtimes that it was measured on, in
            words.
        advice: What is fastest here, one sentence a runtime.
        ranges: Path of the ranges in the bundle.
        points: The float model and the artifacts as they were timed for the advice.
        hazards: What the linter found in the model, JSON-ready, worst first.
    """

    limit: float
    is_relative: bool
    metric: str
    samples: str
    baseline: float
    figures: tuple[ContractFigure, ...]
    higher_is_better: bool = True
    recipe: str = ""
    float_nodes: dict[str, tuple[str, ...]] | None = None
    steps: tuple[ContractStep, ...] = ()
    sensitivity: tuple[dict[str, Any], ...] = ()
    advice: tuple[str, ...] = ()
    ranges: str = ""
    points: tuple[ContractPoint, ...] = ()
    hazards: tuple[dict[str, Any], ...] = ()
    sensitivity_on: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.limit) and self.limit >= 0):
            raise ValueError(f"limit {self.limit} is not a loss >= 0")
        if not self.figures:
            raise ValueError("a contract without figures was not measured")

    def allows(self, lost: float) -> bool:
        """Whether that loss keeps the promise."""
        return lost <= self.limit + _ROUNDING

    def is_sure(self, figure: ContractFigure) -> bool:
        """Whether the promise holds up to the upper end of a figure's interval, if it has one."""
        return figure.interval is None or self.allows(figure.interval[1])

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "limit": self.limit,
            "is_relative": self.is_relative,
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "samples": self.samples,
            "baseline": self.baseline,
            "figures": [figure.to_json() for figure in self.figures],
            "recipe": self.recipe,
            "float_nodes": {name: list(nodes) for name, nodes in (self.float_nodes or {}).items()},
            "steps": [step.to_json() for step in self.steps],
            "sensitivity": list(self.sensitivity),
            "sensitivity_on": self.sensitivity_on,
            "advice": list(self.advice),
            "ranges": self.ranges,
            "points": [point.to_json() for point in self.points],
            "hazards": list(self.hazards),
        }

    @classmethod
    def read(cls, field: Field) -> Contract:
        """Read what ``to_json`` wrote.

        Raises:
            BundleFormatError: It is malformed.
        """
        arguments: dict[str, Any] = {
            name: field.key(name).text() for name in ("metric", "samples", "recipe", "ranges")
        }
        arguments |= {name: field.key(name).number() for name in ("limit", "baseline")}
        arguments |= {name: _truth(field.key(name)) for name in ("is_relative", "higher_is_better")}
        arguments["figures"] = tuple(ContractFigure.read(i) for i in field.key("figures").each())
        arguments["steps"] = tuple(ContractStep.read(item) for item in field.key("steps").each())
        arguments["advice"] = tuple(item.text() for item in field.key("advice").each())
        arguments["float_nodes"] = {
            name: tuple(node.text() for node in nodes.each())
            for name, nodes in field.key("float_nodes").pairs().items()
        }
        arguments["sensitivity"] = _dicts(field.key("sensitivity"))
        looked_at = field.maybe("sensitivity_on")
        arguments["sensitivity_on"] = "" if looked_at is None else looked_at.text()
        points, hazards = field.maybe("points"), field.maybe("hazards")
        arguments["points"] = (
            () if points is None else tuple(ContractPoint.read(item) for item in points.each())
        )
        arguments["hazards"] = () if hazards is None else _dicts(hazards)
        return field.make(lambda: cls(**arguments))


def _dicts(field: Field) -> tuple[dict[str, Any], ...]:
    return tuple(
        {name: value.value for name, value in item.pairs().items()} for item in field.each()
    )


def _interval(field: Field) -> tuple[float, float] | None:
    """Return the two ends, in order; None where there are none."""
    found = field.maybe("interval")
    if found is None:
        return None
    ends = [item.number() for item in found.each()]
    if len(ends) != 2 or not ends[0] <= ends[1]:
        raise found.fault("two numbers, the lower first")
    return ends[0], ends[1]


def _truth(field: Field) -> bool:
    if not isinstance(field.value, bool):
        raise field.fault("true or false")
    return field.value
