"""Hashes as 64-bit words, ranks, and other columns as numpy arrays: the audit's own few lines.

Rank: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014). The numbers are checked
against the test vectors that the allocator's are checked against.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_WORD: Final = 2**64
_HEX: Final = 64


def scramble(word: int) -> int:
    """The splitmix64 finaliser."""
    word = ((word ^ word >> 30) * 0xBF58476D1CE4E5B9) % _WORD
    word = ((word ^ word >> 27) * 0x94D049BB133111EB) % _WORD
    return word ^ word >> 31


def seed_word(seed: int) -> int:
    """splitmix64(seed): the finaliser of the seed and the golden gamma."""
    return scramble((seed + 0x9E3779B97F4A7C15) % _WORD)


def ranks(first_words: U64, seed: int) -> U64:
    """Rank of the row keys whose first 8 bytes, little endian, are given."""
    word = first_words ^ np.uint64(seed_word(seed))
    word = (word ^ word >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ word >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return word ^ word >> np.uint64(31)


def _digit_pairs() -> NDArray[np.uint8]:
    """Value of two ASCII hex digits by their 16-bit little-endian code."""
    table = np.zeros(2**16, np.uint8)
    for value in range(256):
        first, second = f"{value:02x}".encode()
        table[first | second << 8] = value
    return table


_PAIRS: Final = _digit_pairs()


def hex_words(column: pa.Array) -> U64:
    """First 16 bytes of hashes in hex, as words of shape (rows, 2).

    Raises:
        ValueError: a value is null or not 64 characters long.
    """
    rows = len(column)
    if rows == 0:
        return np.empty((0, 2), np.uint64)
    offsets = np.frombuffer(column.buffers()[1], np.int32, rows + 1, 4 * column.offset)
    if column.null_count or not (np.diff(offsets) == _HEX).all():
        raise ValueError("a sha256 that is null or not 64 hex digits")
    codes = np.frombuffer(column.buffers()[2], "<u2", rows * _HEX // 2, int(offsets[0])).reshape(rows, -1)
    out = np.empty((rows, 2), np.uint64)
    for begin in range(0, rows, 65_536):
        part = np.ascontiguousarray(codes[begin : begin + 65_536, :16])
        out[begin : begin + 65_536] = _PAIRS[part].view("<u8")
    return out


def words_of(values: Mapping[str, Any] | set[str] | frozenset[str] | list[str]) -> U64:
    """First 16 bytes of hex hashes, as words of shape (values, 2)."""
    return np.frombuffer(b"".join(bytes.fromhex(v)[:16] for v in sorted(values)), "<u8").reshape(-1, 2)


def fixed_words(column: pa.Array) -> U64:
    """First 16 bytes of a binary(32) column, as words of shape (rows, 2)."""
    return np.ascontiguousarray(fixed_bytes(column).view("<u8").reshape(-1, 4)[:, :2])


def fixed_bytes(column: pa.Array) -> NDArray[np.void]:
    """A binary(32) column as an array of 32-byte values, not copied.

    Raises:
        ValueError: a null.
    """
    if column.null_count:
        raise ValueError("a digest that is null")
    if len(column) == 0:
        return np.empty(0, "V32")
    return np.frombuffer(column.buffers()[1], "V32", len(column), 32 * column.offset)


def numbers(column: pa.Array) -> NDArray[Any]:
    """A numeric column; nulls become 0."""
    filled = column.fill_null(0) if column.null_count else column
    return np.asarray(filled.to_numpy(zero_copy_only=False))


def among(words: U64, listed: U64) -> Bool:
    """Whether each row of `words` is one of `listed`; both of shape (rows, 2)."""
    if not len(listed):
        return np.zeros(len(words), bool)
    found = np.isin(words[:, 0], listed[:, 0])
    at = np.flatnonzero(found)
    if len(at):
        known = {(int(a), int(b)) for a, b in listed}
        found[at] = [(int(a), int(b)) in known for a, b in words[at]]
    return found


class Codes:
    """Strings to small numbers, the same over many columns. Null is a value of its own."""

    def __init__(self) -> None:
        self.values: list[str | None] = []
        self._numbers: dict[str | None, int] = {}

    def number(self, value: str | None) -> int:
        """Number of one value."""
        if value not in self._numbers:
            self._numbers[value] = len(self.values)
            self.values.append(value)
        return self._numbers[value]

    def encode(self, column: pa.Array) -> NDArray[np.int32]:
        """Number of every value of a string column."""
        encoded = column.dictionary_encode()
        table = [self.number(value) for value in encoded.dictionary.to_pylist()]
        if column.null_count:
            table.append(self.number(None))
            places = encoded.indices.fill_null(len(table) - 1)
        else:
            places = encoded.indices
        return np.asarray(np.array(table, np.int32)[places.to_numpy(zero_copy_only=False)], np.int32)
