"""Arrow arrays to numpy and back over their buffers, and the one form in which arrays are written.

pyarrow's own conversions (`to_numpy`, `pa.array` of an ndarray) import pandas first, which costs every writer
process a second or more.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_NUMPY: Final[dict[pa.DataType, np.dtype[Any]]] = {
    pa.uint8(): np.dtype(np.uint8), pa.int32(): np.dtype(np.int32), pa.uint32(): np.dtype(np.uint32),
    pa.int64(): np.dtype(np.int64), pa.uint64(): np.dtype(np.uint64),
}  # fmt: skip


def dtype_of(kind: pa.DataType) -> np.dtype[Any]:
    """Numpy's view of a fixed-width type."""
    return np.dtype(f"V{kind.byte_width}") if pa.types.is_fixed_size_binary(kind) else _NUMPY[kind]


def values_of(array: pa.Array) -> NDArray[Any]:
    """The values of a fixed-width array, not copied; what stands behind nulls is undefined."""
    dtype = dtype_of(array.type)
    data = array.buffers()[1]
    return (
        np.empty(0, dtype)
        if data is None
        else np.frombuffer(data, dtype, len(array), array.offset * dtype.itemsize)
    )


def offsets_of(array: pa.Array) -> NDArray[np.int32]:
    """The offsets of a string, binary or list array, one more than rows, not copied."""
    data = array.buffers()[1]
    return (
        np.zeros(1, np.int32)
        if data is None
        else np.frombuffer(data, np.int32, len(array) + 1, array.offset * 4)
    )


def valid_mask(array: pa.Array) -> NDArray[np.bool_]:
    """True where there is a value."""
    bits = array.buffers()[0]
    if bits is None:
        return np.ones(len(array), np.bool_)
    unpacked = np.unpackbits(
        np.frombuffer(bits, np.uint8), count=array.offset + len(array), bitorder="little"
    )
    return unpacked[array.offset :].astype(np.bool_)


def array_of(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """An array without nulls over numpy values, not copied where they are contiguous."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))], 0)


def strings_of(texts: Sequence[str]) -> pa.Array:
    """A string array without nulls."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    data = pa.py_buffer(b"".join(encoded))
    return pa.Array.from_buffers(pa.string(), len(encoded), [None, pa.py_buffer(offsets), data], 0)


def canonical(array: pa.Array) -> pa.Array:
    """The same values in the one form that is written: exact buffers, offsets from 0, zeros behind nulls.

    Which buffers `take` leaves behind depends on how its input was batched; bytes on disk must not. Nothing may lie
    behind a null string or list, which `take` sees to.
    """
    rows, nulls = len(array), array.null_count
    valid = valid_mask(array) if nulls else None
    validity = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    if pa.types.is_struct(array.type):
        children = [canonical(child) for child in array.flatten()]
        return pa.Array.from_buffers(array.type, rows, [validity], nulls, children=children)
    if pa.types.is_list(array.type):
        offsets, first, end = _offsets_from_0(array)
        children = [canonical(array.values.slice(first, end - first))]
        return pa.Array.from_buffers(
            array.type, rows, [validity, pa.py_buffer(offsets)], nulls, children=children
        )
    if pa.types.is_string(array.type) or pa.types.is_binary(array.type):
        offsets, first, end = _offsets_from_0(array)
        data = array.buffers()[2]
        data = pa.py_buffer(b"") if data is None else data.slice(first, end - first)
        return pa.Array.from_buffers(array.type, rows, [validity, pa.py_buffer(offsets), data], nulls)
    values = values_of(array)
    if valid is not None:
        values = np.where(valid, values, np.zeros(1, values.dtype))
    return pa.Array.from_buffers(array.type, rows, [validity, pa.py_buffer(values)], nulls)


def _offsets_from_0(array: pa.Array) -> tuple[NDArray[np.int32], int, int]:
    """(offsets, first, end): what the first and the last one were."""
    offsets = offsets_of(array)
    first, end = int(offsets[0]), int(offsets[-1])
    return (offsets - np.int32(first) if first else offsets), first, end
