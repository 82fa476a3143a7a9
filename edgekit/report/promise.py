"""What was promised of a quantized model, and what each artifact measured."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.bundle import Contract, ContractFigure, ContractStep, Manifest
from edgekit.bundle.contract import SIMULATED
from edgekit.report import words
from edgekit.report.axis import is_drawable
from edgekit.report.scatter import Level, Point, Scatter

KEPT, REFUSED = "kept", "refused"
_MOST_POINTS = 40
FLOATS = ("fp32", "fp16", "bf16")
"""Precisions of the float model among a contract's points."""


@dataclass(frozen=True)
class Verdict:
    """One artifact's line.

    Args:
        number: In the chart; 0 where it has no point there.
        artifact: Its name.
        word: ``"kept"``, ``"refused"``, ``"simulated"``, ``"verified"`` or ``"unverified"``.
        value: The metric, as text.
        lost: Against the float model, as text.
        latency: Of a sample, as text.
        runtime: What ran it.
        reason: Why it is not measured, or ``""``.
        interval: Where the loss lies on other samples, as text.
    """

    number: int
    artifact: str
    word: str
    value: str = ""
    lost: str = ""
    latency: str = ""
    runtime: str = ""
    reason: str = ""
    interval: str = ""


@dataclass(frozen=True)
class FloatRow:
    """The float model on one runtime: a point of the chart."""

    number: int
    name: str
    value: str
    latency: str


@dataclass(frozen=True)
class Step:
    """One step of the search, as text.

    Args:
        recipe: What was done.
        int8_share: Of the multiplications, 0 to 1.
        worst: Largest loss.
        seconds: It took.
    """

    recipe: str
    int8_share: float
    worst: str
    seconds: str


def verdicts(manifest: Manifest) -> tuple[Verdict, ...]:
    """Return a line for every artifact; those without a figure say what is known of them."""
    contract = manifest.contract
    figures = {} if contract is None else {item.artifact: item for item in contract.figures}
    numbers = {point.name: point.number for point in _points(contract)}
    found: list[Verdict] = []
    for artifact in manifest.artifacts:
        status = manifest.status_of(artifact.name)
        figure = figures.get(artifact.name)
        if contract is None or figure is None:
            found.append(Verdict(0, artifact.name, status.state, reason=status.reason))
            continue
        found.append(
            Verdict(
                number=numbers.get(artifact.name, 0),
                artifact=artifact.name,
                word=_word(contract, figure),
                value=words.number(figure.value),
                lost=in_unit(contract, figure.lost),
                latency=words.number(
                    None if latency_of(figure) is None else _timed(contract, figure)
                ),
                runtime=figure.runtime,
                reason=status.reason,
                interval=_interval(contract, figure),
            )
        )
    return tuple(found)


def float_rows(contract: Contract | None) -> tuple[FloatRow, ...]:
    """Return the float model's points of the chart, a row each."""
    artifacts = {item.artifact for item in contract.figures} if contract is not None else set()
    return tuple(
        FloatRow(point.number, point.name, words.number(point.y), words.number(point.x))
        for point in _points(contract)
        if point.name not in artifacts
    )


def promise_in_words(contract: Contract) -> str:
    """Return the promise as a sentence."""
    of = "of the float model's " if contract.is_relative else "in "
    return (
        f"At most {in_unit(contract, contract.limit)} {of}{contract.metric} may be lost. The "
        f"float model reaches {words.number(contract.baseline)} on {contract.samples}; "
        f"{'more' if contract.higher_is_better else 'less'} is better."
    )


def in_unit(contract: Contract, lost: float) -> str:
    """Return a loss as the promise is written: per cent, or in the metric's unit."""
    return words.share(lost) if contract.is_relative else words.number(lost)


def frontier(contract: Contract) -> Scatter | None:
    """Return accuracy against latency; None where no latency is known."""
    points = _points(contract)
    if not points:
        return None
    span = contract.limit * (abs(contract.baseline) if contract.is_relative else 1.0)
    sign = -1.0 if contract.higher_is_better else 1.0
    levels = (
        Level(contract.baseline, "float model", "float"),
        Level(contract.baseline + sign * span, "promised limit", "limit"),
    )
    return Scatter(
        points=points,
        levels=tuple(level for level in levels if is_drawable(level.y)),
        x_title="milliseconds a sample",
        y_title=contract.metric,
        higher_is_better=contract.higher_is_better,
    )


def search_steps(contract: Contract) -> tuple[Step, ...]:
    """Return what was tried."""
    return tuple(
        Step(
            recipe=step.recipe,
            int8_share=step.int8_share,
            worst=_worst(contract, step),
            seconds=words.number(step.seconds),
        )
        for step in contract.steps
    )


def _worst(contract: Contract, step: ContractStep) -> str:
    """Return what a step lost: "at least" where the search did not measure all artifacts."""
    if not step.lost:
        return "no number"
    worst = in_unit(contract, max(step.lost.values()))
    is_whole = all(figure.artifact in step.lost for figure in contract.figures)
    return worst if is_whole else f"at least {worst}"


def _points(contract: Contract | None) -> tuple[Point, ...]:
    if contract is None:
        return ()
    able = [
        figure
        for figure in contract.figures
        if (latency_of(figure) or 0.0) > 0
        and is_drawable(figure.latency_ms or 0.0)
        and is_drawable(figure.value)
    ][:_MOST_POINTS]
    named = [(figure.artifact, _timed(contract, figure), figure.value) for figure in able]
    named += [
        (f"{point.precision} on {point.runtime}", point.latency_ms, point.value)
        for point in contract.points
        if point.precision in FLOATS
        and point.latency_ms > 0
        and is_drawable(point.latency_ms)
        and is_drawable(point.value)
    ]
    return tuple(Point(number, *item) for number, item in enumerate(named[:_MOST_POINTS], 1))


def latency_of(figure: ContractFigure) -> float | None:
    """Return the milliseconds of a sample on the artifact's own runtime; None where unknown.

    A simulated artifact ran on another engine, whose time says nothing about its own.
    """
    return None if figure.status == SIMULATED else figure.latency_ms


def _timed(contract: Contract, figure: ContractFigure) -> float:
    """Return the time that was taken in turns with the float model's, else the validation's."""
    return next(
        (
            point.latency_ms
            for point in contract.points
            if figure.runtime.split()[0] == point.runtime
            and figure.artifact.endswith(f"-{point.precision}")
            and is_drawable(point.latency_ms)
        ),
        figure.latency_ms or 0.0,
    )


def _interval(contract: Contract, figure: ContractFigure) -> str:
    if figure.interval is None:
        return ""
    low, high = figure.interval
    return f"{in_unit(contract, low)} to {in_unit(contract, high)}"


def _word(contract: Contract, figure: ContractFigure) -> str:
    if not contract.allows(figure.lost):
        return REFUSED
    return SIMULATED if figure.status == SIMULATED else KEPT
