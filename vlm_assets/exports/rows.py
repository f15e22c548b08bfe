"""Rows of a sealed shard for an export: proven to be what the corpus says, and of them those that are wanted."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.corpus.manifest import CorpusManifest, ShardEntry, data_name, index_name
from vlm_assets.exports.where import Where
from vlm_assets.store.away import away
from vlm_assets.store.slices import file_hash
from vlm_assets.store.sound_files import stream_batches
from vlm_assets.store.taken_down import read_index
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import CorpusError, StoreError
from vlm_assets.words.schema import SAMPLE_SCHEMA

Bool = NDArray[np.bool_]


def wanted_rows(version: Path, corpus: CorpusManifest, where: Where) -> Mapping[str, Bool]:
    """Of every shard that has any, which of its rows are wanted, by bits. A byte a row.

    Raises:
        CorpusError: no row is wanted.
        StoreError: an index is not what the corpus says.
    """
    masks = {
        bits: where.mask(checked_index(version, bits, one, where.reads))
        for bits, one in corpus.shards.items()
    }
    wanted = {bits: mask for bits, mask in sorted(masks.items()) if mask.any()}
    if not wanted:
        raise CorpusError(f"{corpus.target}: no row of the corpus is so: {where.text}")
    return wanted


def checked_index(version: Path, bits: str, shard: ShardEntry, columns: tuple[str, ...]) -> pa.Table:
    """Columns of a shard's index.

    Raises:
        StoreError: it is not what the corpus says.
    """
    path = version / index_name(bits)
    check_hash(path, shard.index.blake3)
    return read_index(path, columns)


def check_hash(path: Path, blake3: str) -> None:
    """Returns where a file of the corpus is what its manifest says.

    Raises:
        StoreError: it is not.
    """
    gone = away(path)
    if gone is not None and gone.entry.blake3 == blake3:
        return  # hashed when it comes to be read
    if not path.is_file() or file_hash(path) != blake3:
        raise StoreError(f"{path} is not what the corpus says; run `vlm-assets verify`")


def shard_batches(version: Path, bits: str, shard: ShardEntry, mask: Bool | None) -> Iterator[pa.RecordBatch]:
    """The record batches of a shard, or of them the wanted rows; `check_hash` first.

    Raises:
        StoreError: it has another number of rows than the corpus says.
    """
    path, first = version / data_name(bits), 0
    for batch in stream_batches(path, SAMPLE_SCHEMA):
        part = slice(first, first + batch.num_rows)
        first += batch.num_rows
        if mask is None:
            yield batch
        elif mask[part].any():
            yield _taken(batch, mask[part])
    if first != shard.rows:
        raise StoreError(f"{path} holds {so_many(first, 'row')}, the corpus says {shard.rows}")


def _taken(batch: pa.RecordBatch, mask: Bool) -> pa.RecordBatch:
    if mask.all():
        return batch
    wanted: Any = pa.array(np.flatnonzero(mask))
    return batch.take(wanted)
