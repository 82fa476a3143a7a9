"""Which tensor of the engine is which tensor of the artifact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgekit.artifact import Artifact
from edgekit.errors import EngineError
from edgekit.quantization import Quantization
from edgekit.runtimes.codec import logical_spec
from edgekit.tensor import Dim, DType, TensorSpec


@dataclass(frozen=True)
class EngineTensor:
    """One input or output as the engine tells it.

    Args:
        names: Its names; the first is the one to show.
        dtype: Element type.
        shape: Sizes; a dynamic size is a name. None where the rank is unknown.
        quantization: How its integers map to real values.
    """

    names: tuple[str, ...]
    dtype: DType
    shape: tuple[Dim, ...] | None
    quantization: Quantization | None = None

    def to_spec(self) -> TensorSpec:
        """Return it as a spec, for a plain model file that comes without a manifest."""
        return TensorSpec(self.names[0], self.dtype, self.shape, quantization=self.quantization)


@dataclass(frozen=True)
class EngineTensors:
    """All inputs and outputs, in the engine's order."""

    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]


def dynamic_name(tensor: str, axis: int) -> str:
    """Return a name for a dynamic size that the file does not name."""
    return f"{tensor}_{axis}"


def complete(artifact: Artifact, engine: EngineTensors) -> Artifact:
    """Return the artifact with its tensors; those of a plain file are read from the engine."""
    if artifact.inputs or artifact.outputs:
        return artifact
    return replace(
        artifact,
        inputs=tuple(tensor.to_spec() for tensor in engine.inputs),
        outputs=tuple(tensor.to_spec() for tensor in engine.outputs),
    )


def positions(
    specs: Sequence[TensorSpec], tensors: Sequence[EngineTensor], *, kind: str
) -> tuple[int, ...]:
    """Return the engine's position of each spec.

    Raises:
        EngineError: The file that was opened is not the one that the specs describe.
    """
    by_name = {name: place for place, tensor in enumerate(tensors) for name in tensor.names}
    if len(specs) != len(tensors) or any(spec.name not in by_name for spec in specs):
        raise EngineError(
            f"the file's {kind}s are {[tensor.names[0] for tensor in tensors]}, the manifest's "
            f"are {[spec.name for spec in specs]}; convert the model again"
        )
    places = tuple(by_name[spec.name] for spec in specs)
    for spec, place in zip(specs, places, strict=True):
        _check_same(spec, tensors[place], kind=kind)
    return places


def _check_same(spec: TensorSpec, tensor: EngineTensor, *, kind: str) -> None:
    is_same_rank = None in (spec.shape, tensor.shape) or len(spec.shape or ()) == len(
        tensor.shape or ()
    )
    if tensor.dtype is not spec.dtype or not is_same_rank:
        raise EngineError(
            f"the file's {kind} {spec.name!r} is {tensor.dtype.value} {tensor.shape}, the "
            f"manifest's is {spec.dtype.value} {spec.shape}; convert the model again"
        )


def pair_logical(
    stored: Sequence[TensorSpec], manifest: Sequence[TensorSpec] | None, *, fused: Sequence[str]
) -> tuple[TensorSpec, ...]:
    """Return the logical spec of each stored tensor, in the manifest's order where it has one.

    An input whose preprocessing is fused keeps what the artifact takes: uint8 pixels. A size
    that is dynamic in the source and fixed in the artifact is the artifact's.
    """
    by_name = {spec.name: logical_spec(spec) for spec in stored}
    if manifest is None:
        return tuple(by_name.values())
    named = {spec.name: spec for spec in manifest}
    logical = {
        name: spec if name in fused or name not in named else _narrowed(named[name], spec)
        for name, spec in by_name.items()
    }
    order = [spec.name for spec in manifest if spec.name in logical]
    return tuple(
        logical[name] for name in (*order, *(name for name in logical if name not in order))
    )


def _narrowed(spec: TensorSpec, stored: TensorSpec) -> TensorSpec:
    if spec.shape is None or stored.shape is None or len(spec.shape) != len(stored.shape):
        return spec
    sizes = zip(spec.shape, stored.shape, strict=True)
    return spec.with_shape(tuple(ours if isinstance(ours, int) else fixed for ours, fixed in sizes))
