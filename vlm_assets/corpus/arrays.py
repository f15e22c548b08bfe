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
    """The offsets of a string or binary array, one more than rows, not copied."""
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

    Which buffers `take` leaves behind depends on how its input was batched; bytes on disk must not.
    """
    rows, nulls = len(array), array.null_count
    valid = valid_mask(array) if nulls else None
    validity = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    kind = array.type
    if pa.types.is_struct(kind):
        fields = [canonical(array.field(number)) for number in range(kind.num_fields)]
        return pa.Array.from_buffers(kind, rows, [validity], nulls, children=fields)
    if pa.types.is_list(kind):
        offsets = offsets_of(array)
        child = canonical(array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0])))
        buffers = [validity, pa.py_buffer(np.ascontiguousarray(offsets - offsets[0]))]
        return pa.Array.from_buffers(kind, rows, buffers, nulls, children=[child])
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _canonical_strings(array, validity)
    values = values_of(array)
    if valid is not None:
        values = np.where(valid, values, np.zeros((), values.dtype))
    return pa.Array.from_buffers(kind, rows, [validity, pa.py_buffer(np.ascontiguousarray(values))], nulls)


def _canonical_strings(array: pa.Array, validity: pa.Buffer | None) -> pa.Array:
    offsets, data = offsets_of(array), array.buffers()[2]
    first, last = int(offsets[0]), int(offsets[-1])
    if first:
        offsets = offsets - np.int32(first)
    data = pa.py_buffer(b"") if data is None else data.slice(first, last - first)
    return pa.Array.from_buffers(
        array.type, len(array), [validity, pa.py_buffer(offsets), data], array.null_count
    )
