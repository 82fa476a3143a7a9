"""The emitter's own tables against the schema that ai-edge-litert generates."""

from __future__ import annotations

import inspect
import re
from enum import IntEnum
from functools import cache

import pytest

from edgekit.converters.emitters.tflite.schema import (
    OPERATORS,
    Activation,
    MirrorPad,
    OptionField,
    Padding,
)
from edgekit.runtimes.tflite_names import BUILTIN_NAMES, TENSOR_TYPES

generated = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason="ai-edge-litert, whose schema is the oracle"
)

KINDS = {
    "Int8": "int8",
    "Int32": "int32",
    "Float32": "float32",
    "Bool": "bool",
    "UOffsetTRelative": "int32_vector",
}
# Describes a quantization recipe of weights; no operator of ours carries one.
NEVER_EMITTED = {"quant_spec"}


@cache
def schema_source() -> str:
    return inspect.getsource(generated)


def public_numbers(enum: type) -> dict[str, int]:
    return {name: value for name, value in vars(enum).items() if not name.startswith("_")}


def options_table_name(options_type: int) -> str:
    names = public_numbers(generated.BuiltinOptions)
    return next(name for name, number in names.items() if number == options_type)


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def generated_fields(table: str) -> tuple[OptionField, ...]:
    pattern = rf"^def {table}Add(\w+)\(.*\n    builder\.Prepend(\w+)Slot\((\d+), .*, (\S+)\)$"
    fields = []
    for name, kind, slot, default in re.findall(pattern, schema_source(), re.MULTILINE):
        value = None if KINDS[kind] == "int32_vector" else float(default)
        fields.append(OptionField(snake_case(name), int(slot), KINDS[kind], value))
    return tuple(field for field in fields if field.name not in NEVER_EMITTED)


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_has_the_code_slots_types_and_defaults_of_the_schema(name: str) -> None:
    operator = OPERATORS[name]
    table = options_table_name(operator.options_type)

    assert operator.code == public_numbers(generated.BuiltinOperator)[name]
    assert operator.fields == generated_fields(table)


@pytest.mark.parametrize("name", OPERATORS)
def test_options_table_is_the_one_that_belongs_to_the_operator(name: str) -> None:
    # The union members are named after the operators, but for these.
    shared = {
        "AVERAGE_POOL_2D": "Pool2DOptions",
        "MAX_POOL_2D": "Pool2DOptions",
        "CONV_3D_TRANSPOSE": "Conv3DOptions",
        "L2_NORMALIZATION": "L2NormOptions",
        "MAXIMUM": "MaximumMinimumOptions",
        "MINIMUM": "MaximumMinimumOptions",
    }
    reducers = {"MEAN", "SUM", *(op for op in OPERATORS if op.startswith("REDUCE_"))}
    own = name.replace("_", "").lower() + "options"
    known = {table.lower(): table for table in public_numbers(generated.BuiltinOptions)}
    expected = shared.get(name, "ReducerOptions" if name in reducers else known.get(own, "NONE"))

    assert options_table_name(OPERATORS[name].options_type) == expected


def test_every_builtin_code_has_its_name() -> None:
    assert public_numbers(generated.BuiltinOperator) == {
        name: code for code, name in enumerate(BUILTIN_NAMES)
    }


def test_every_element_type_has_its_code() -> None:
    codes = public_numbers(generated.TensorType)

    assert {dtype.name: code for dtype, code in TENSOR_TYPES.items()}.items() <= codes.items()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(Padding, "Padding"), (Activation, "ActivationFunctionType"), (MirrorPad, "MirrorPadMode")],
)
def test_enum_has_the_numbers_of_the_schema(ours: type[IntEnum], theirs: str) -> None:
    numbers = public_numbers(getattr(generated, theirs))

    assert {member.name: int(member) for member in ours}.items() <= numbers.items()
