"""All ports of a session: mappings of logical tensors outside, lists of stored ones inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.errors import InputError
from edgekit.preprocess import Preprocess
from edgekit.registry import unknown_name
from edgekit.runtimes.matching import pair_logical
from edgekit.runtimes.ports import InputPort, OutputPort, Sizes
from edgekit.tensor import TensorSpec

Array = NDArray[Any]


class Border:
    """Checks and turns over what goes into the engine and what comes out of it.

    The lists are in the artifact's order.

    Args:
        artifact: With its stored tensors.
        inputs: Logical inputs of the manifest; None derives them.
        outputs: Likewise.
        preprocess: Per input that takes frames.
        reads_strided: Whether the engine reads strided arrays.
        writes_strided: Whether it fills strided arrays.

    Attributes:
        inputs: Logical inputs; a fused one is the uint8 pixels that the artifact takes.
        outputs: Logical outputs.
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        inputs: Sequence[TensorSpec] | None,
        outputs: Sequence[TensorSpec] | None,
        preprocess: Mapping[str, Preprocess],
        reads_strided: bool,
        writes_strided: bool,
    ) -> None:
        fused = artifact.fused_preprocess
        self.inputs = pair_logical(artifact.inputs, inputs, fused=fused)
        self.outputs = pair_logical(artifact.outputs, outputs, fused=())
        logical = {spec.name: spec for spec in self.inputs}
        self._input_ports = tuple(
            InputPort(
                logical[stored.name],
                stored,
                preprocess=preprocess.get(stored.name),
                is_fused=stored.name in fused,
                needs_c_order=not reads_strided,
            )
            for stored in artifact.inputs
        )
        logical = {spec.name: spec for spec in self.outputs}
        self._output_ports = tuple(
            OutputPort(logical[stored.name], stored) for stored in artifact.outputs
        )
        self._output_names = tuple(logical)
        self._writes_strided = writes_strided

    def encode(self, inputs: Mapping[str, Array], *, copy: bool) -> list[Array]:
        """Return the stored inputs, checked.

        Args:
            inputs: Logical arrays or frames by name.
            copy: Whether the result must not share the caller's memory.

        Raises:
            InputError: A name, shape or dtype is not what the model takes.
        """
        ports = self._input_ports
        if not isinstance(inputs, Mapping) or len(inputs) != len(ports):
            raise self._names_error(inputs)
        sizes: Sizes = {}
        try:
            return [port.encode(inputs[port.name], sizes, copy=copy) for port in ports]
        except KeyError:
            raise self._names_error(inputs) from None

    def decode(self, results: list[Array]) -> dict[str, Array]:
        """Return the logical outputs by name."""
        return {
            port.name: port.decode(result)
            for port, result in zip(self._output_ports, results, strict=True)
        }

    def place_buffers(self, outputs: Mapping[str, Array]) -> list[Array | None]:
        """Return, per output, what the engine is to fill itself, or None.

        Args:
            outputs: The caller's buffers by name.

        Raises:
            InputError: A name is unknown, or a buffer has another shape or dtype.
        """
        for name in outputs:
            if name not in self._output_names:
                raise InputError(unknown_name(str(name), self._output_names, kind="output"))
        sizes: Sizes = {}
        places: list[Array | None] = []
        for port in self._output_ports:
            view = None
            if port.name in outputs:
                buffer = port.check_buffer(outputs[port.name], sizes)
                view = port.stored_view(buffer, needs_c_order=not self._writes_strided)
            places.append(view)
        return places

    def fill(
        self, results: list[Array], outputs: Mapping[str, Array], *, filled: list[Array | None]
    ) -> dict[str, Array]:
        """Return the outputs by name, the caller's buffers among them, all filled.

        Args:
            results: Stored outputs of the engine.
            outputs: The caller's buffers by name.
            filled: What ``place_buffers`` returned: those that the engine has filled.

        Raises:
            InputError: A dynamic output came out in another shape than its buffer.
        """
        named = self.decode(results)
        for port, view in zip(self._output_ports, filled, strict=True):
            if port.name in outputs:
                if view is None:
                    port.fill(outputs[port.name], named[port.name])
                named[port.name] = outputs[port.name]
        return named

    def _names_error(self, inputs: object) -> InputError:
        takes = ", ".join(map(str, self.inputs))
        if not isinstance(inputs, Mapping):
            return InputError(
                f"run takes a mapping of names to arrays, not a {type(inputs).__name__}; "
                f"this model takes: {takes}"
            )
        names = tuple(spec.name for spec in self.inputs)
        for name in inputs:
            if name not in names:
                return InputError(unknown_name(str(name), names, kind="input"))
        missing = [repr(name) for name in names if name not in inputs]
        verb = "is" if len(missing) == 1 else "are"
        return InputError(f"{', '.join(missing)} {verb} missing; this model takes: {takes}")
