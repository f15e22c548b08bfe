"""Columns of index files as numpy arrays, batch by batch, without the columns that nobody asked for."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.store.arrays import valid_mask, values_of
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.keys import Words
from vlm_assets.words.schema import INDEX_SCHEMA

HEX_LENGTH = 64


def index_batches(directory: Path, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Record batches of a slice's index with the named columns only; other columns are not read from disk.

    Plain reads, not a memory map: mapped pages count as resident until the map goes, and slices may be large. A
    name may be given twice: what needs a column asks for it.

    Raises:
        AllocationError: missing, not an Arrow file, or of another schema.
    """
    path = directory / INDEX_FILE
    try:
        with pa.OSFile(str(path)) as file:
            fields = sorted({INDEX_SCHEMA.get_field_index(name) for name in names})
            options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
            reader = pa.ipc.open_file(file, options=options)
            for name in names:
                if reader.schema.get_field_index(name) < 0 or not reader.schema.field(name).equals(
                    INDEX_SCHEMA.field(name)
                ):
                    raise AllocationError(f"{path}: column {name} is missing or of another type")
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                batch.validate(
                    full=True
                )  # damaged offsets would lead reads out of the file, and end the process
                yield batch
    except (OSError, pa.ArrowException, ValueError, SystemError) as error:
        raise AllocationError(f"{path}: {error}; run `vlm-assets verify`") from error


def numbers(column: pa.Array) -> NDArray[Any]:
    """A numeric column, not copied where it has no nulls; these become 0."""
    values = values_of(column)
    return np.where(valid_mask(column), values, values.dtype.type(0)) if column.null_count else values


def validity(column: pa.Array) -> NDArray[np.bool_]:
    """True where a column is not null."""
    return valid_mask(column)


def hash_words(column: pa.Array) -> Words:
    """A `binary(32)` column as an array of shape (rows, 4): little-endian 64-bit words. No copy is made.

    Raises:
        AllocationError: a null.
    """
    if column.null_count:
        raise AllocationError("a hash is null in a committed index")
    data = column.buffers()[1]
    if not len(column):
        return np.empty((0, 4), dtype=np.uint64)
    words = np.frombuffer(data, dtype="<u8", count=4 * len(column), offset=32 * column.offset)
    return words.reshape(-1, 4)


def hex_words(column: pa.Array) -> Words:
    """A column of sha256 in hex, none null, as words of shape (values, 4)."""
    raw = b"".join(bytes.fromhex(value) for value in column.to_pylist())
    return np.frombuffer(raw, dtype="<u8").reshape(-1, 4)


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


def ordered_words(parts: Sequence[Words]) -> Words:
    """Words of shape (values, 4) of all parts, without repeats, sorted as `contained` needs them."""
    whole = np.concatenate([np.empty((0, 4), dtype=np.uint64), *parts])
    ordered = whole[np.lexsort(whole.T[::-1])]
    new = np.ones(len(ordered), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return ordered[new]


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
