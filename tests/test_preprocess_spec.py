"""Preprocessing as data: checks, JSON, and the command-line value."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

import pytest

from edgekit.errors import UsageError
from edgekit.preprocess import Preprocess
from edgekit.quantization import Quantization
from edgekit.tensor import DType, Layout

EVERYTHING = Preprocess(
    resize="shortest-side",
    interpolation="area",
    crop_fraction=0.875,
    pad_value=114,
    colour="BGR",
    frame_colour="RGB",
    scale=(1 / 255,),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    layout=Layout.NHWC,
    dtype=DType.INT8,
    quantization=Quantization((0.02,), (-3,)),
)


def test_json_brings_every_field_back() -> None:
    text = json.dumps(EVERYTHING.to_json())

    assert Preprocess.from_json(json.loads(text)) == EVERYTHING


@dataclass(frozen=True)
class BrokenCase:
    id: str
    changes: dict[str, Any]
    words: str


BROKEN_CASES = [
    BrokenCase("unknown_field", {"gamma": 2}, "gamma"),
    BrokenCase("mistyped_mode", {"resize": "leterbox"}, "did you mean 'letterbox'"),
    BrokenCase("text_for_numbers", {"mean": "0.5"}, "mean is '0.5'"),
    BrokenCase("bool_for_number", {"crop_fraction": True}, "crop_fraction is True"),
    BrokenCase("number_for_text", {"colour": 3}, "colour is 3"),
    BrokenCase("fraction_of_grey", {"pad_value": 0.5}, "pad_value is 0.5"),
    BrokenCase("infinite_grey", {"pad_value": float("inf")}, "pad_value is inf"),
    BrokenCase("unknown_dtype", {"dtype": "float8"}, "float8"),
    BrokenCase("unknown_layout", {"layout": "CHWN"}, "CHWN"),
    BrokenCase("code_of_text", {"quantization": "int8"}, "quantization is 'int8'"),
    BrokenCase("half_a_code", {"quantization": {"scale": [1]}}, "zero_point"),
]


@pytest.mark.parametrize("case", BROKEN_CASES, ids=lambda case: case.id)
def test_malformed_json_is_refused_by_name(case: BrokenCase) -> None:
    data = {**EVERYTHING.to_json(), **case.changes}

    with pytest.raises(ValueError, match=case.words):
        Preprocess.from_json(data)


@pytest.mark.parametrize("name", sorted(EVERYTHING.to_json()))
def test_json_without_a_field_is_refused_by_name(name: str) -> None:
    data = EVERYTHING.to_json()
    del data[name]

    with pytest.raises(ValueError, match=name):
        Preprocess.from_json(data)


INVALID_CASES = [
    BrokenCase("resize", {"resize": "squash"}, "choose from: none, stretch"),
    BrokenCase("colour", {"colour": "rgb"}, "no colour order named 'rgb'"),
    BrokenCase("layout", {"layout": Layout.NCL}, "NCL"),
    BrokenCase("dtype", {"dtype": DType.INT64}, "int64"),
    BrokenCase("fraction", {"crop_fraction": 0.0}, "crop fraction 0.0"),
    BrokenCase("fraction_unused", {"resize": "stretch"}, "no meaning for resize mode 'stretch'"),
    BrokenCase("pad", {"pad_value": 256}, "pad value 256"),
    BrokenCase("zero_std", {"std": (1.0, 0.0, 1.0)}, "holds a 0"),
    BrokenCase("zero_scale", {"scale": (0.0,)}, "holds a 0"),
    BrokenCase("nan", {"mean": (float("nan"),)}, "not finite"),
    BrokenCase("two_values", {"mean": (1.0, 2.0)}, "takes 1 or 3"),
    BrokenCase("three_for_grey", {"colour": "GRAY"}, "a GRAY input takes 1 or 1"),
    BrokenCase("float_code", {"dtype": DType.FLOAT32}, "float32 cannot have quantization"),
]


@pytest.mark.parametrize("case", INVALID_CASES, ids=lambda case: case.id)
def test_an_impossible_value_is_refused_when_made(case: BrokenCase) -> None:
    with pytest.raises(UsageError, match=case.words):
        replace(EVERYTHING, **case.changes)


@dataclass(frozen=True)
class ParseCase:
    id: str
    text: str
    expected: Preprocess


PARSE_CASES = [
    ParseCase("words", "letterbox,bgr,nhwc,uint8,cubic", Preprocess(
        resize="letterbox", colour="BGR", layout=Layout.NHWC, dtype=DType.UINT8,
        interpolation="cubic")),
    ParseCase("fractions_and_products", "scale=1/255,std=2*255", Preprocess(
        scale=(1 / 255,), std=(510.0,))),
    ParseCase("lists", "mean=1:2:3,std=4:5:6", Preprocess(mean=(1, 2, 3), std=(4, 5, 6))),
    ParseCase("spaces_and_case", " Letterbox , RGB, pad = 114 ", Preprocess(
        resize="letterbox", pad_value=114)),
    ParseCase("keys", "resize=center-crop,crop=0.875,frame=rgb,color=gray", Preprocess(
        resize="center-crop", crop_fraction=0.875, frame_colour="RGB", colour="GRAY")),
    ParseCase("code", "uint8,quantization=1/128:128", Preprocess(
        dtype=DType.UINT8, quantization=Quantization((1 / 128,), (128,)))),
]  # fmt: skip


@pytest.mark.parametrize("case", PARSE_CASES, ids=lambda case: case.id)
def test_a_command_line_value_sets_what_it_says(case: ParseCase) -> None:
    assert Preprocess.parse(case.text) == case.expected


@dataclass(frozen=True)
class MistypedCase:
    id: str
    text: str
    words: str


MISTYPED_CASES = [
    MistypedCase("word", "leterbox", "did you mean 'letterbox'.*choose from: none, stretch"),
    MistypedCase("key", "meen=1", "did you mean 'mean'.*choose from"),
    MistypedCase("choice", "resize=letterboxx", "did you mean 'letterbox'"),
    MistypedCase("number", "mean=0.5:x", "'x' is not a number such as"),
    MistypedCase("divided_twice", "mean=1/2/3", "such as 1:2:3"),
    MistypedCase("division_by_zero", "scale=1/0", "scale=1/0"),
    MistypedCase("twice", "rgb,bgr", "gives colour twice"),
    MistypedCase("empty", "", "no preprocessing word named ''"),
    MistypedCase("count", "bgr,mean=1:2", "takes 1 or 3"),
    MistypedCase("grey", "pad=1.5", "whole grey level"),
    MistypedCase("infinite_grey", "pad=inf", "'inf' is not a number"),
    MistypedCase("code", "uint8,quantization=3", "SCALE:ZERO_POINT"),
    MistypedCase("negative_code", "uint8,quantization=-1:0", "> 0"),
]


@pytest.mark.parametrize("case", MISTYPED_CASES, ids=lambda case: case.id)
def test_a_mistyped_command_line_value_gets_the_choices(case: MistypedCase) -> None:
    with pytest.raises(UsageError, match=case.words):
        Preprocess.parse(case.text)


def test_reading_preprocessing_loads_no_opencv() -> None:
    code = "import sys, edgekit.preprocess; print('cv2' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
