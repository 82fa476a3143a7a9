"""A manifest that is malformed, contradicts itself or is too new is refused, with the place."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from bundle_models import FILES, GOLDEN_FILES, OPENVINO, make_manifest, write_tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.bundle import (
    DEFAULT_TOLERANCES,
    Bundle,
    FileRecord,
    Manifest,
    Parity,
    Source,
    Status,
    Tolerance,
)
from edgekit.bundle.limits import MAX_MANIFEST_BYTES
from edgekit.errors import (
    BundleFormatError,
    BundleVersionError,
    EdgeKitError,
    UnsafeBundleError,
)

TREE: dict[str, Any] = make_manifest(
    files={path: FileRecord(len(data), "0" * 64) for path, data in FILES.items()}
).to_json()


def read(tree: object) -> Manifest:
    return Manifest.from_bytes(json.dumps(tree).encode())


@dataclass(frozen=True)
class Edit:
    """A change of a good manifest, and the words that the error must have."""

    id: str
    place: tuple[str | int, ...]
    value: Any
    words: str


def edited(place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    tree = copy.deepcopy(TREE)
    spot: Any = tree
    for step in place[:-1]:
        spot = spot[step]
    spot[place[-1]] = value
    return tree


EDITS = [
    Edit("format", ("format",), "other", "$.format is 'other'"),
    Edit("version_text", ("schema_version",), "1", "$.schema_version is '1'"),
    Edit("version_bool", ("schema_version",), True, "$.schema_version is True"),
    Edit("version_zero", ("schema_version",), 0, "$.schema_version is 0"),
    Edit("name_number", ("name",), 3, "$.name is 3; expected a text"),
    Edit("name_empty", ("name",), "", "$.name"),
    Edit("name_escape", ("name",), "\x1b[2J", "$.name"),
    Edit("name_surrogate", ("name",), "\ud800", "$.name"),
    Edit("created", ("created",), "yesterday", "$.created"),
    Edit("source_list", ("source",), [], "$.source is []; expected an object"),
    Edit("source_hash", ("source", "sha256"), "xyz", "$.source: sha256 'xyz'"),
    Edit("source_path", ("source", "file_name"), "/home/me/m.onnx", "$.source: "),
    Edit("source_opset", ("source", "opset"), 1.5, "$.source.opset is 1.5"),
    Edit("inputs_object", ("inputs",), {}, "$.inputs is {}; expected a list"),
    Edit("input_text", ("inputs", 0), "x", "$.inputs[0] is 'x'"),
    Edit("input_dtype", ("inputs", 0, "dtype"), "float99", "$.inputs[0]: 'float99'"),
    Edit("input_dtype_null", ("inputs", 0, "dtype"), None, "$.inputs[0].dtype is missing"),
    Edit("input_shape", ("inputs", 0, "shape"), "abc", "$.inputs[0].shape is 'abc'"),
    Edit("input_dim", ("inputs", 0, "shape", 1), 1.5, "$.inputs[0].shape[1] is 1.5"),
    Edit("input_dim_below_0", ("inputs", 0, "shape", 1), -1, "$.inputs[0]: tensor 'image'"),
    Edit("input_dim_huge", ("inputs", 0, "shape", 1), 10**30, "$.inputs[0].shape[1]"),
    Edit("input_rank", ("inputs", 0, "shape"), [1] * 99, "$.inputs[0].shape"),
    Edit("layout", ("inputs", 0, "layout"), "HWNC", "$.inputs[0]: 'HWNC'"),
    Edit("permutation", ("inputs", 0, "permutation"), [0, 0, 1, 2], "$.inputs[0]: "),
    Edit("permutation_text", ("inputs", 0, "permutation"), ["0"], "$.inputs[0].permutation[0]"),
    Edit("scale", ("inputs", 0, "quantization"), {"scale": [0], "zero_point": [0]}, "$.inputs[0]"),
    Edit("zero_point", ("inputs", 0, "quantization"), {"scale": [1]}, "zero_point is missing"),
    Edit("outputs_twice", ("outputs",), TREE["outputs"] * 2, "$.outputs: the name 'scores'"),
    Edit("preprocess_of_none", ("preprocess", "other"), TREE["preprocess"]["image"], "'other'"),
    Edit("preprocess_value", ("preprocess", "image", "std"), [0], "$.preprocess.image: "),
    Edit("preprocess_huge", ("preprocess", "image", "mean"), [10**400], "$.preprocess.image: "),
    Edit("preprocess_unknown_step", ("preprocess", "image", "blur"), 3, "'blur'"),
    Edit("labels_text", ("labels",), "cat", "$.labels is 'cat'"),
    Edit("label_number", ("labels", 1), 7, "$.labels[1] is 7"),
    Edit("artifact_twice", ("artifacts", 1), TREE["artifacts"][0], "$.artifacts: the name"),
    Edit("artifact_files", ("artifacts", 0, "files"), {}, "$.artifacts[0].files: "),
    Edit("artifact_input", ("artifacts", 0, "inputs", 0, "name"), "x", "$.artifacts[0].inputs: "),
    Edit("artifact_recipe", ("artifacts", 0, "recipe"), [], "$.artifacts[0].recipe is []"),
    Edit("artifact_fused", ("artifacts", 0, "fused_preprocess"), ["x"], "fused_preprocess: "),
    Edit("unlisted_file", ("artifacts", 0, "files", "more"), "x.bin", "$.files: it lacks 'x.bin'"),
    Edit("status_of_none", ("status", "x"), {"state": "verified"}, "$.status: there is no 'x'"),
    Edit("status_state", ("status", "openvino-fp32", "state"), "passed", "'passed'"),
    Edit("status_reason", ("status", "tensorrt-fp16", "reason"), "", "needs the reason"),
    Edit("parity_of_none", ("parity", 0, "artifact"), "x", "$.parity: there is no 'x'"),
    Edit("golden_input", ("goldens", 0, "inputs", "x"), "a.npy", "$.goldens[0].inputs: "),
    Edit("golden_outputs", ("goldens", 0, "outputs"), {}, "$.goldens[0].outputs: it is empty"),
    Edit("cosine_min", ("tolerances", "fp32", "cpu", "cosine_min"), 2, "$.tolerances.fp32.cpu: "),
    Edit("tools", ("tools", "onnx"), None, "$.tools.onnx is None"),
    Edit("file_size", ("files", "openvino-fp32/model.xml", "size"), -1, "size -1 is negative"),
    Edit("file_hash", ("files", "openvino-fp32/model.xml", "sha256"), "AB" * 32, "lower-case"),
    Edit("files_list", ("files",), [], "$.files is []"),
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.id)
def test_a_malformed_manifest_is_refused_with_the_place(edit: Edit) -> None:
    with pytest.raises(BundleFormatError) as caught:
        read(edited(edit.place, edit.value))

    assert edit.words in str(caught.value)


@pytest.mark.parametrize("key", [key for key in TREE if key not in ("calibration", "contract")])
def test_a_missing_key_is_named(key: str) -> None:
    tree = {name: value for name, value in TREE.items() if name != key}

    with pytest.raises(BundleFormatError, match=rf"\$\.{key} is missing"):
        read(tree)


@dataclass(frozen=True)
class Unsafe:
    id: str
    place: tuple[str | int, ...]
    value: Any


@pytest.mark.parametrize(
    "case",
    [
        Unsafe("artifact_outside", ("artifacts", 0, "files", "model"), "../../etc/passwd"),
        Unsafe("golden_absolute", ("goldens", 0, "inputs", "image"), "/etc/passwd"),
        Unsafe("file_outside", ("files", "../evil"), {"size": 1, "sha256": "0" * 64}),
        Unsafe("the_manifest", ("files", "manifest.json"), {"size": 1, "sha256": "0" * 64}),
        Unsafe("huge_file", ("files", "openvino-fp32/model.xml", "size"), 2**62),
        Unsafe("huge_golden", ("files", "goldens/0/input.0.npy", "size"), 2**33),
        Unsafe(
            "many_files",
            ("files",),
            TREE["files"] | {f"f{n}": {"size": 1, "sha256": "0" * 64} for n in range(5000)},
        ),
    ],
    ids=lambda case: case.id,
)
def test_a_manifest_that_leads_outside_or_is_over_the_limits_is_refused(case: Unsafe) -> None:
    with pytest.raises(UnsafeBundleError):
        read(edited(case.place, case.value))


@dataclass(frozen=True)
class Raw:
    id: str
    data: bytes
    words: str


@pytest.mark.parametrize(
    "case",
    [
        Raw("empty", b"", "not valid JSON"),
        Raw("not_json", b"<xml/>", "not valid JSON"),
        Raw("not_utf8", b'{"name": "\xff"}', "not valid JSON"),
        Raw("utf16", '{"format": "edgekit"}'.encode("utf-16"), "not valid JSON"),
        Raw("cut_off", json.dumps(TREE).encode()[:-5], "not valid JSON"),
        Raw("text", b'"manifest"', "$ is 'manifest'; expected an object"),
        Raw("nan", b'{"name": NaN}', "NaN is not a JSON number"),
        Raw("infinity", b'{"name": -Infinity}', "-Infinity is not a JSON number"),
        Raw("overflow", b'{"name": 1e999}', "$.name is inf; expected a finite number"),
        Raw("many_digits", b'{"name": ' + b"1" * 5000 + b"}", "not valid JSON"),
        Raw("twice", b'{"name": 1, "name": 2}', "'name' stands twice"),
        Raw("deep", b"[" * 100 + b"]" * 100, "at most 64 levels"),
        Raw("deep_but_parsed", b"[" * 900 + b"]" * 900, "at most 64 levels"),
        Raw("very_deep", b"[" * 1_000_000, "nested deeper"),
    ],
    ids=lambda case: case.id,
)
def test_bytes_that_are_no_harmless_json_are_refused(case: Raw) -> None:
    with pytest.raises(BundleFormatError) as caught:
        Manifest.from_bytes(case.data)

    assert case.words in str(caught.value)


def test_a_newer_schema_is_refused_with_both_versions_and_the_way_out() -> None:
    with pytest.raises(BundleVersionError) as caught:
        read({"format": "edgekit", "schema_version": 7, "edgekit_version": "9.1.0"})

    text = str(caught.value)
    assert "schema version 7" in text
    assert "'9.1.0'" in text
    assert "reads schema version 1" in text
    assert "pip install --upgrade edgekit" in text


def test_a_manifest_over_its_size_limit_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("large") / "model.edgekit"
    write_tiny(folder, "folder")
    (folder / "manifest.json").write_bytes(b" " * (MAX_MANIFEST_BYTES + 1))

    with pytest.raises(UnsafeBundleError, match=r"manifest\.json"):
        Bundle.open(folder)


def test_verified_without_figures_is_refused() -> None:
    with pytest.raises(BundleFormatError, match="it is called verified, but"):
        make_manifest(parity=())


def test_verified_with_figures_outside_the_tolerance_is_refused() -> None:
    good = make_manifest().parity[0]

    with pytest.raises(BundleFormatError, match=r"has cosine 0\.9"):
        make_manifest(parity=(good, replace(good, runtime="onnxruntime", cosine=0.9)))


def test_verified_in_a_precision_without_tolerance_is_refused() -> None:
    with pytest.raises(BundleFormatError, match="its tolerance is None"):
        make_manifest(tolerances={"fp16": {"cpu": Tolerance(0.9, 0.1)}})


@dataclass(frozen=True)
class BadValue:
    id: str
    make: Callable[[], object]


@pytest.mark.parametrize(
    "case",
    [
        BadValue("nan_cosine", lambda: replace(make_manifest().parity[0], cosine=float("nan"))),
        BadValue(
            "infinite", lambda: replace(make_manifest().parity[0], max_abs_error=float("inf"))
        ),
        BadValue("nan_sqnr", lambda: replace(make_manifest().parity[0], sqnr_db=float("nan"))),
        BadValue("negative_limit", lambda: Tolerance(0.9, -1)),
        BadValue("nan_limit", lambda: Tolerance(float("nan"), 1)),
        BadValue("status", lambda: Status("ok")),
        BadValue("silent", lambda: Status("unverified")),
        BadValue("source", lambda: Source("", "0" * 64)),
    ],
    ids=lambda case: case.id,
)
def test_a_record_that_shows_nothing_is_refused(case: BadValue) -> None:
    with pytest.raises(ValueError, match=r".+"):
        case.make()


def test_infinite_signal_to_noise_is_null_in_the_file() -> None:
    data = make_manifest().parity[0].to_json()

    assert data["sqnr_db"] is None
    assert Parity(**{**data, "sqnr_db": float("inf")}) == make_manifest().parity[0]


def test_a_golden_must_be_of_this_model() -> None:
    with pytest.raises(BundleFormatError, match="there is no 'other'"):
        make_manifest(goldens=(replace(GOLDEN_FILES, inputs={"other": "x.npy"}),))


def test_files_that_share_a_letter_case_are_refused() -> None:
    artifact = replace(OPENVINO, files={"model": "a/x.xml", "weights": "A/x.XML"})
    files = {path: FileRecord(1, "0" * 64) for path in artifact.files.values()}

    with pytest.raises(UnsafeBundleError, match="one file on some systems"):
        make_manifest(artifacts=(artifact,), goldens=(), parity=(), status={}, files=files)


def places(value: object, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a JSON tree but its root."""
    steps: list[str | int] = []
    if isinstance(value, dict):
        steps = list(value)
    elif isinstance(value, list):
        steps = list(range(len(value)))
    found = [(*at, step) for step in steps]
    for step in steps:
        found += places(value[step], (*at, step))  # type: ignore[index]
    return found


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 3)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["..", "/x", "image", "scores", "openvino-fp32", "float32", "verified", ""])
    | st.sampled_from([2**63, -(2**70), 10**400, 1e308]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_change_of_a_manifest_loads_or_is_refused_by_an_error_of_ours(
    data: st.DataObject,
) -> None:
    tree = copy.deepcopy(TREE)
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(places(tree)))
        spot: Any = tree
        for step in way:
            spot = spot[step]
        if isinstance(last, str) and data.draw(st.booleans()):
            del spot[last]
        else:
            spot[last] = data.draw(JSON_VALUES)

    try:
        manifest = read(tree)
    except EdgeKitError as error:
        assert str(error).encode()  # it can be shown: no lone surrogates
        return

    # What loads can be written and read again.
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


def test_the_documented_tolerances_are_those_of_the_code() -> None:
    text = (Path(__file__).parent.parent / "docs/bundle.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (\w+) \| ([\d.]+) \| ([\de-]+) \|", text, re.M)

    assert {(precision, backend): (float(c), float(e)) for precision, backend, c, e in rows} == {
        (precision, backend): (limits.cosine_min, limits.relative_error_max)
        for precision, backends in DEFAULT_TOLERANCES.items()
        for backend, limits in backends.items()
    }


def test_every_key_of_a_manifest_is_documented() -> None:
    text = (Path(__file__).parent.parent / "docs/bundle.md").read_text(encoding="utf-8")
    tree = make_manifest().to_json()
    records = [tree["source"], *tree["inputs"], *tree["artifacts"], *tree["parity"]]
    keys = {key for record in (tree, *records) for key in record}

    assert {key for key in keys if f"`{key}`" not in text} == set()
