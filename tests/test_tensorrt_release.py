"""Releases of TensorRT: reading, order, ranges."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from edgekit.errors import UsageError
from edgekit.runtimes.tensorrt.release import Release


@dataclass(frozen=True)
class Range:
    release: str
    text: str
    holds: bool


RANGES = [
    Range("10.3.0.30", ">=10,<11", True),
    Range("11.4.0.106", ">=10,<11", False),
    Range("8.5.2.2", ">=8.5,<10", True),
    Range("8.4.3", ">=8.5,<10", False),
    Range("10.0.0", ">=10", True),
    Range("10", ">=10.0.0", True),
    Range("10.16.1.11", ">10.3", True),
    Range("10.2.0", "==10.2", True),
    Range("10.2.0", "!=10.2", False),
    Range("rtx-1.7.1.116", ">=11", True),
    Range("rtx-1.7.1.116", ">=10,<11", False),
]


@pytest.mark.parametrize("case", RANGES, ids=lambda case: f"{case.release} in {case.text}")
def test_a_range_holds_what_it_says(case: Range) -> None:
    assert Release.parse(case.release).in_range(case.text) is case.holds


@pytest.mark.parametrize("text", ["8.5.3.1", "10.16.1.11", "rtx-1.7.1.116", "lean-11.4.0"])
def test_a_release_reads_as_it_is_written(text: str) -> None:
    assert str(Release.parse(text)) == text


def test_releases_are_in_the_order_of_their_numbers() -> None:
    assert Release.parse("10.3.0") < Release.parse("10.16.1")


def test_what_follows_the_numbers_is_left_out() -> None:
    assert Release.parse("10.0.0b6").numbers == (10, 0, 0)


@pytest.mark.parametrize(("text", "number"), [("8.5.2", 8502), ("8.6.0", 8600), ("10.3.0", 100300)])
def test_a_calibration_cache_numbers_releases_as_nvidia_does(text: str, number: int) -> None:
    # 8502 and 8600 are in caches of NVIDIA's cuDLA samples; 100300 is NvInferVersion.h's rule.
    assert Release.parse(text).calibration_number() == number


@pytest.mark.parametrize("text", ["", "abc", "rtx-"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no TensorRT version"):
        Release.parse(text)


def test_what_is_no_range_is_refused() -> None:
    with pytest.raises(UsageError, match="no range of releases"):
        Release.parse("10.3").in_range("~10")
