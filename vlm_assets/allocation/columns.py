"""Columns of index files as numpy arrays, batch by batch, without the columns that nobody asked for."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.keys import Words
from vlm_assets.words.schema import INDEX_SCHEMA

HEX_LENGTH = 64
_CHUNK_ROWS = 65_536
"""Rows decoded at a time: what fits into the processor's cache."""
_LOW_NIBBLES = np.uint64(0x0F0F0F0F0F0F0F0F)
_LOW_BITS = np.uint64(0x0101010101010101)


def index_batches(directory: Path, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Record batches of a slice's index with the named columns only; other columns are not read from disk.

    Plain reads, not a memory map: mapped pages count as resident until the map goes, and slices may be large.

    Raises:
        AllocationError: missing, not an Arrow file, or of another schema.
    """
    path = directory / INDEX_FILE
    try:
        with pa.OSFile(str(path)) as file:
            fields = sorted(INDEX_SCHEMA.get_field_index(name) for name in names)
            options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
            reader = pa.ipc.open_file(file, options=options)
            for name in names:
                if reader.schema.get_field_index(name) < 0 or not reader.schema.field(name).equals(
                    INDEX_SCHEMA.field(name)
                ):
                    raise AllocationError(f"{path}: column {name} is missing or of another type")
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)
    except (OSError, pa.ArrowInvalid) as error:
        raise AllocationError(f"{path}: {error}; run `vlm-assets verify`") from error


def numbers(column: pa.Array) -> NDArray[Any]:
    """A numeric column without copying; nulls become 0."""
    if column.null_count:
        column = column.fill_null(0)
    values: NDArray[Any] = column.to_numpy(zero_copy_only=True)
    return values


def validity(column: pa.Array) -> NDArray[np.bool_]:
    """True where a column is not null."""
    if not column.null_count:
        return np.ones(len(column), dtype=bool)
    valid: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return valid


def hex_words(column: pa.Array) -> Words:
    """A column of sha256 in hex as an array of shape (rows, 4): little-endian 64-bit words of the 32 bytes.

    Raises:
        AllocationError: a null, or a value that is not 64 characters long.
    """
    rows = len(column)
    _, offsets_buffer, data = column.buffers()
    if not rows:
        return np.empty((0, 4), dtype=np.uint64)
    offsets = np.frombuffer(offsets_buffer, dtype=np.int32, count=rows + 1, offset=4 * column.offset)
    if column.null_count or np.any(np.diff(offsets) != HEX_LENGTH):
        raise AllocationError("image_sha256 is null or not 64 hex digits in a committed index")
    digits = np.frombuffer(data, dtype="<u8", count=8 * rows, offset=int(offsets[0])).reshape(rows, 8)
    words = np.empty((rows, 4), dtype=np.uint64)
    for begin in range(0, rows, _CHUNK_ROWS):
        halves = _eight_digits(digits[begin : begin + _CHUNK_ROWS])
        words[begin : begin + _CHUNK_ROWS] = halves[:, 0::2] | (halves[:, 1::2] << np.uint64(32))
    return words


def _eight_digits(digits: Words) -> Words:
    """Eight ASCII hex digits in each word (the first in the lowest byte) to the 4 bytes that they spell."""
    eight, sixteen, four, six = (np.uint64(bits) for bits in (8, 16, 4, 6))
    nibbles = (digits & _LOW_NIBBLES) + ((digits >> six) & _LOW_BITS) * np.uint64(9)
    pairs = ((nibbles << four) | (nibbles >> eight)) & np.uint64(0x00FF00FF00FF00FF)
    pairs = (pairs | (pairs >> eight)) & np.uint64(0x0000FFFF0000FFFF)
    return (pairs | (pairs >> sixteen)) & np.uint64(0x00000000FFFFFFFF)


def fixed_bytes(column: pa.Array) -> bytes:
    """The values of a `binary(32)` column, one after the other.

    Raises:
        AllocationError: a null.
    """
    if column.null_count:
        raise AllocationError("text_sha256 is null in a committed index")
    width = column.type.byte_width
    start = column.offset * width
    return memoryview(column.buffers()[1])[start : start + len(column) * width].tobytes()


def pair_digests(image_words: Words, text_sha256: bytes) -> Words:
    """sha256(image_sha256 ‖ sha256(text)) of each row, as words of shape (rows, 4); both parts are raw bytes."""
    images = image_words.astype("<u8").tobytes()
    digests = b"".join(
        sha256(images[at : at + 32] + text_sha256[at : at + 32]).digest() for at in range(0, len(images), 32)
    )
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 4)


def id_digests(ids: pa.Array) -> Words:
    """sha256(id) of each row, as words of shape (rows, 4)."""
    digests = b"".join(sha256(name.encode()).digest() for name in ids.to_pylist())
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 4)


def words_of_hex(hashes: Sequence[str]) -> Words:
    """Hex sha256 values as words of shape (values, 4), sorted by the first words.

    Raises:
        AllocationError: a value that is not 64 hex digits.
    """
    try:
        raw = [bytes.fromhex(value) for value in hashes]
    except ValueError:
        raw = [b""]
    if any(len(value) != HEX_LENGTH // 2 for value in raw):
        raise AllocationError("a list of image_sha256 holds a value that is not 64 hex digits")
    words = np.frombuffer(b"".join(raw), dtype="<u8").reshape(-1, 4)
    return words[np.lexsort((words[:, 1], words[:, 0]))]


def contained(words: Words, listed: Words) -> NDArray[np.bool_]:
    """Whether each row of `words` is among `listed` (from `words_of_hex`), on their first 128 bits."""
    found = np.zeros(len(words), dtype=bool)
    if not len(listed):
        return found
    place = np.searchsorted(listed[:, 0], words[:, 0])
    while True:
        at = np.minimum(place, len(listed) - 1)
        same = (listed[at, 0] == words[:, 0]) & (place < len(listed))
        found |= same & (listed[at, 1] == words[:, 1])
        place += 1
        if not np.any(same & ~found):
            return found
