"""Hashes as 64-bit words, ranks, and other columns as numpy arrays: the audit's own few lines.

Rank: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014). The numbers are checked
against the test vectors that the allocator's are checked against.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_WORD: Final = 2**64
_HEX: Final = 64
_SMALL: Final = 100_000
_LAST_WORDS: Final = 3
_EVERY: Final = 0x0101_0101_0101_0101


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


_HEX_ROWS: Final = 8_192
"""Decoded at once: their words stay in the processor's own cache."""
_ONES, _NIBBLES, _BYTES, _PAIRS = (
    np.uint64(word)
    for word in (0x01 * _EVERY, 0x0F * _EVERY, 0x00FF * 0x0001_0001_0001_0001, 0x0000FFFF_0000FFFF)
)


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
    digits = np.frombuffer(column.buffers()[2], "<u8", rows * _HEX // 8, int(offsets[0])).reshape(rows, -1)
    out = np.empty((rows, 2), np.uint64)
    for begin in range(0, rows, _HEX_ROWS):
        out[begin : begin + _HEX_ROWS] = _decoded(digits[begin : begin + _HEX_ROWS, :4].copy())
    return out


def _decoded(digits: U64) -> U64:
    """Words of shape (rows, 2) from four words of eight hex digits a row, eight digits at a time; spoils `digits`."""
    other = digits >> np.uint64(6)  # 1 for letters, 0 for digits
    other &= _ONES
    other *= np.uint64(9)
    digits &= _NIBBLES
    digits += other
    np.right_shift(digits, np.uint64(8), out=other)
    digits <<= np.uint64(4)
    digits |= other
    digits &= _BYTES
    np.right_shift(digits, np.uint64(8), out=other)
    digits |= other
    digits &= _PAIRS
    np.right_shift(digits, np.uint64(16), out=other)
    digits |= other
    return np.ascontiguousarray(digits.view("<u4")[:, ::2]).view("<u8")


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


def sure_distinct(column: pa.Array) -> bool:
    """Whether no two texts are equal, as far as their lengths and last 24 bytes tell; False where those agree."""
    rows = len(column)
    if rows < 2 or column.null_count:
        return rows < 2
    offsets = np.frombuffer(column.buffers()[1], np.int32, rows + 1, 4 * column.offset).astype(np.int64)
    data = np.frombuffer(column.buffers()[2], np.uint8)[: offsets[-1]]
    padded = np.concatenate([np.zeros(8 * _LAST_WORDS, np.uint8), data])
    at_any_byte = np.ndarray((len(padded) - 7,), "<u8", padded.data, strides=(1,))
    lengths = np.diff(offsets)
    mixed = lengths.astype(np.uint64)
    for number in range(_LAST_WORDS):
        word = at_any_byte[offsets[1:] + 8 * (_LAST_WORDS - 1 - number)]
        own = np.clip(lengths - 8 * number, 0, 8).astype(
            np.uint64
        )  # bytes of it that are not the text's before
        word = np.where(own == 0, 0, word >> (np.uint64(64) - np.uint64(8) * np.maximum(own, 1)))
        mixed = (mixed ^ word) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    mixed.sort()
    return not (mixed[1:] == mixed[:-1]).any()


class Codes:
    """Tuples of strings to small numbers, the same over many batches. Null is a value of its own."""

    def __init__(self) -> None:
        self.values: list[tuple[str | None, ...]] = []
        self._numbers: dict[tuple[str | None, ...], int] = {}

    def number(self, value: tuple[str | None, ...]) -> int:
        """Number of one tuple."""
        if value not in self._numbers:
            self._numbers[value] = len(self.values)
            self.values.append(value)
        return self._numbers[value]

    def encode(self, columns: Sequence[pa.Array]) -> NDArray[np.int32]:
        """Number of every row's tuple."""
        encoded = [column.dictionary_encode() for column in columns]
        values = [[*one.dictionary.to_pylist(), None] for one in encoded]
        packed = np.zeros(len(columns[0]), np.int64)
        for one, texts in zip(encoded, values, strict=True):
            packed *= len(texts)
            places = one.indices.fill_null(len(texts) - 1) if one.indices.null_count else one.indices
            packed += places.to_numpy(zero_copy_only=False)
        distinct, place = _distinct(packed)
        table = [self.number(_unpacked(one, values)) for one in distinct.tolist()]
        return np.asarray(np.array(table, np.int32)[place])


def _unpacked(packed: int, values: Sequence[Sequence[str | None]]) -> tuple[str | None, ...]:
    found: list[str | None] = []
    for texts in reversed(values):
        packed, place = divmod(packed, len(texts))
        found.append(texts[place])
    return tuple(reversed(found))


def _distinct(values: I64) -> tuple[I64, I64]:
    """`np.unique` with the inverse, without sorting all values where they are small."""
    if len(values) and values.max() < _SMALL:
        present = np.zeros(int(values.max()) + 1, bool)
        present[values] = True
        distinct = np.flatnonzero(present)
        place = np.cumsum(present) - 1
        return distinct, place[values]
    found, inverse = np.unique(values, return_inverse=True)
    return found, inverse
