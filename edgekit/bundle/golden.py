"""Golden inputs and outputs: arrays in memory, ``.npy`` files in the bundle."""

from __future__ import annotations

import io
import math
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.bundle.records import GoldenFiles
from edgekit.errors import BundleFormatError
from edgekit.tensor import DType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.graph import Array

# numpy writes these types of ml_dtypes as raw bytes, so the manifest's dtype names them.
_RAW = (DType.BFLOAT16, DType.INT4, DType.UINT4)

# What numpy's header parser lets through where the header is malformed.
_FAULTS = (
    ValueError,
    TypeError,
    KeyError,
    SyntaxError,
    EOFError,
    OverflowError,
    RecursionError,
    MemoryError,
    tokenize.TokenError,
)


@dataclass(frozen=True)
class Golden:
    """One run of the source model.

    Args:
        origin: Where the input comes from: ``"synthetic, seed 0"``, ``"photo.jpg"``.
        inputs: By the source model's names.
        outputs: Likewise; what the source model answered.
    """

    origin: str
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


def pack_golden(golden: Golden, *, index: int) -> tuple[GoldenFiles, dict[str, bytes]]:
    """Return a golden as files for ``write_bundle``, and the manifest's line for it.

    Args:
        golden: The run.
        index: Its number among the goldens; it goes into the paths.

    Raises:
        ValueError: An array holds text or objects, which would need pickle.
    """
    files: dict[str, bytes] = {}

    def pack(kind: str, arrays: Mapping[str, Array]) -> dict[str, str]:
        # Numbered, not named: a tensor's name may be no file name.
        paths = {name: f"goldens/{index}/{kind}.{n}.npy" for n, name in enumerate(arrays)}
        files.update({paths[name]: to_npy(array) for name, array in arrays.items()})
        return paths

    inputs, outputs = pack("input", golden.inputs), pack("output", golden.outputs)
    return GoldenFiles(golden.origin, inputs, outputs), files


def to_npy(array: Array) -> bytes:
    """Return an array as the content of a ``.npy`` file.

    Raises:
        ValueError: It holds text or objects.
    """
    import numpy

    buffer = io.BytesIO()
    numpy.lib.format.write_array(
        buffer,
        numpy.ascontiguousarray(array).reshape(array.shape),
        version=(1, 0),
        allow_pickle=False,
    )
    return buffer.getvalue()


def from_npy(data: bytes, *, dtype: DType, path: str) -> Array:
    """Return the array of a ``.npy`` file.

    The header is checked against the bytes that are there before anything is allocated:
    numpy's own reader takes as much memory as the header asks for.

    Args:
        data: The whole file.
        dtype: The tensor's; it tells the types that numpy stores as raw bytes.
        path: For the error.

    Raises:
        BundleFormatError: It is not one, or holds Python objects.
    """
    import numpy

    file = io.BytesIO(data)
    try:
        version = numpy.lib.format.read_magic(file)
        read_header = {
            (1, 0): numpy.lib.format.read_array_header_1_0,
            (2, 0): numpy.lib.format.read_array_header_2_0,
        }[version]
        shape, is_fortran, stored = read_header(file)
        _check_header(shape, stored, left=len(data) - file.tell())
        flat: NDArray[Any] = numpy.frombuffer(data, stored, offset=file.tell())
        if stored.kind == "V" and dtype in _RAW:
            flat = flat.view(dtype.to_numpy())
        # A copy: runtimes take writable arrays.
        array = flat.reshape(shape, order="F" if is_fortran else "C").copy()
    except _FAULTS as error:
        raise BundleFormatError(
            f"the golden {path!r} is not a plain .npy array: {type(error).__name__}: {error}; "
            "convert the model again"
        ) from error
    result: Array = array
    return result


def _check_header(shape: tuple[int, ...], stored: np.dtype[Any], *, left: int) -> None:
    if stored.hasobject or stored.fields is not None or stored.subdtype is not None:
        raise ValueError(f"dtype {stored} holds Python objects or records")
    wanted = math.prod(shape) * stored.itemsize
    if stored.itemsize == 0 or any(size < 0 for size in shape) or wanted != left:
        raise ValueError(f"shape {shape} of {stored} takes {wanted} bytes, and {left} are there")
