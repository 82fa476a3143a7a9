"""The ranges file says what was measured, and refuses what is not one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.errors import CalibrationError
from edgekit.ranges import Histogram, Range, Ranges, Statistics

SEEN = Statistics(9, -1.5, 2.0, -1.25, 1.75, Histogram(-1.5, 2.0, (1, 0, 0, 0, 5, 0, 3)))
RANGES = Ranges("a" * 64, 3, "b" * 64, {"x": Range(-1.5, 2.0, "minmax")}, {"x": SEEN})


def test_a_file_reads_back_as_it_was_written(tmp_path: Path) -> None:
    RANGES.save(tmp_path / "ranges.json")

    assert Ranges.load(tmp_path / "ranges.json") == RANGES


def test_floats_survive_to_the_last_bit(tmp_path: Path) -> None:
    odd = Ranges("", 1, "", {"x": Range(-1 / 3, 0.1 + 0.2, "mse")})
    odd.save(tmp_path / "ranges.json")

    assert Ranges.load(tmp_path / "ranges.json").ranges["x"] == odd.ranges["x"]


def test_runs_of_empty_bins_are_short() -> None:
    data = RANGES.to_json()

    assert data["tensors"]["x"]["seen"]["histogram"]["counts"] == "1 z3 5 z1 3"


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    RANGES.save(tmp_path / "ranges.json")

    assert [path.name for path in tmp_path.iterdir()] == ["ranges.json"]


@pytest.mark.parametrize("low, high", [(1.0, 2.0), (-2.0, -1.0), (0.0, 0.0)])
def test_a_range_always_holds_zero(low: float, high: float) -> None:
    made = Range(low, high, "minmax")

    assert made.low <= 0 <= made.high


@pytest.mark.parametrize("low, high", [(2.0, 1.0), (0.0, float("inf")), (float("nan"), 0.0)])
def test_an_impossible_range_is_refused(low: float, high: float) -> None:
    with pytest.raises(CalibrationError):
        Range(low, high, "minmax")


def test_a_union_covers_both() -> None:
    union = Range(-1, 2, "mse").union(Range(-3, 1, "minmax"))

    assert (union.low, union.high) == (-3, 2)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema_version": 1}', '{"schema_version": 1, "tensors": []}', "{" * 5000],
)
def test_what_is_no_ranges_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "ranges.json").write_text(text)

    with pytest.raises(CalibrationError):
        Ranges.load(tmp_path / "ranges.json")


def test_a_newer_schema_asks_for_an_upgrade(tmp_path: Path) -> None:
    (tmp_path / "ranges.json").write_text(json.dumps({**RANGES.to_json(), "schema_version": 99}))

    with pytest.raises(CalibrationError, match="upgrade"):
        Ranges.load(tmp_path / "ranges.json")


def test_a_huge_run_of_empty_bins_is_refused(tmp_path: Path) -> None:
    data = RANGES.to_json()
    data["tensors"]["x"]["seen"]["histogram"]["counts"] = "z99999999999"
    (tmp_path / "ranges.json").write_text(json.dumps(data))

    with pytest.raises(CalibrationError):
        Ranges.load(tmp_path / "ranges.json")
