"""Tensors and artifacts of an untrusted manifest: checked value by value, then built."""

from __future__ import annotations

from edgekit.artifact import Artifact
from edgekit.bundle.fields import Field
from edgekit.bundle.paths import check_path
from edgekit.tensor import TensorSpec

MAX_RANK = 32


def read_spec(field: Field) -> TensorSpec:
    """Read what ``TensorSpec.to_json`` wrote.

    Raises:
        BundleFormatError: It is malformed.
    """
    if not field.key("name").text():
        raise field.key("name").fault("a name")
    field.key("dtype").text()
    _check_shape(field)
    layout, permutation = field.maybe("layout"), field.maybe("permutation")
    if layout is not None:
        layout.text()
    if permutation is not None:
        _check_wholes(permutation)
    quantization = field.maybe("quantization")
    if quantization is not None:
        _check_quantization(quantization)
    # An absent key and null mean the same here; the builder wants a value or no key.
    present = {
        key: value for key, value in field.value.items() if value is not None or key == "shape"
    }
    return field.make(lambda: TensorSpec.from_json(present))


def read_artifact(field: Field) -> Artifact:
    """Read what ``Artifact.to_json`` wrote.

    Raises:
        BundleFormatError: It is malformed.
        UnsafeBundleError: A path leads outside the bundle.
    """
    recipe, fused = field.maybe("recipe"), field.maybe("fused_preprocess")
    if recipe is not None:
        recipe.pairs()
    return Artifact(
        format=field.key("format").text(),
        precision=field.key("precision").text(),
        files={role: check_path(path.text()) for role, path in field.key("files").pairs().items()},
        inputs=tuple(read_spec(item) for item in field.key("inputs").each()),
        outputs=tuple(read_spec(item) for item in field.key("outputs").each()),
        recipe={} if recipe is None else recipe.value,
        fused_preprocess=() if fused is None else tuple(item.text() for item in fused.each()),
    )


def _check_shape(field: Field) -> None:
    if "shape" not in field.value:
        field.key("shape")  # says that it is missing; null is an unknown rank
    shape = field.maybe("shape")
    if shape is None:
        return
    dims = shape.each()
    if len(dims) > MAX_RANK:
        raise shape.fault(f"at most {MAX_RANK} sizes")
    for dim in dims:
        if not isinstance(dim.value, str):
            dim.whole()


def _check_wholes(field: Field) -> None:
    for item in field.each():
        item.whole()


def _check_quantization(field: Field) -> None:
    for scale in field.key("scale").each():
        scale.number()
    _check_wholes(field.key("zero_point"))
    axis = field.maybe("axis")
    if axis is not None:
        axis.whole()
