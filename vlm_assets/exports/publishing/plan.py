"""What a publication consists of: a file for the rows of a category in a shard, configs and splits that name them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlm_assets.corpus.manifest import CorpusManifest, data_name, index_name
from vlm_assets.exports.destinations import DATA
from vlm_assets.exports.publishing.order import ORDER_COLUMNS, BlockOrder
from vlm_assets.exports.rows import Bool, checked_index
from vlm_assets.exports.where import Where
from vlm_assets.store.sound_files import stream_batches
from vlm_assets.store.taken_down import read_index
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.schema import SAMPLE_SCHEMA

SPLIT: Final = "train"
WHOLE: Final = "default"
"""The config of all rows."""
_OWN_BYTES: Final = 10_000
"""About what a Parquet file of these columns has beside its values."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file to be: rows of a category in a shard. `size_bytes` is about what it will have."""

    bits: str
    category: str
    rows: int
    size_bytes: int

    @property
    def path(self) -> str:
        """In the repository."""
        return f"{DATA}r{self.bits}/{self.category}.parquet"


def plan_files(version: Path, corpus: CorpusManifest, where: Where | None) -> list[PlannedFile]:
    """Every file with a row, by shard and category. Reads indexes, and proves them.

    Raises:
        CorpusError: no row is wanted.
        StoreError: an index is not what the corpus says.
    """
    planned = []
    for bits, shard in sorted(corpus.shards.items()):
        index = checked_index(version, bits, shard, _columns(where, "category", "row_bytes"))
        wanted = index.filter(pa.array(where.mask(index))) if where else index
        sums = wanted.group_by("category").aggregate([("row_bytes", "sum"), ("row_bytes", "count")])
        planned += [
            PlannedFile(bits, one["category"], one["row_bytes_count"], one["row_bytes_sum"] + _OWN_BYTES)
            for one in sorted(sums.to_pylist(), key=lambda one: str(one["category"]))
        ]
    if not planned:
        raise CorpusError(f"{corpus.target}: no row of the corpus is so: {where.text if where else ''}")
    return planned


def file_batches(
    version: Path, file: PlannedFile, where: Where | None, order: BlockOrder
) -> Iterator[pa.RecordBatch]:
    """The rows of a file, in the order of their blocks; one window of the corpus in memory at a time."""
    index = read_index(version / index_name(file.bits), _columns(where, "category", *ORDER_COLUMNS))
    mask = _mask(index, file.category, where)
    first = 0
    for batch in stream_batches(version / data_name(file.bits), SAMPLE_SCHEMA):
        part = slice(first, first + batch.num_rows)
        if mask[part].any():
            places = order.order(index.slice(first, batch.num_rows))
            yield batch.take(pa.array(places[mask[part][places]]))
        first += batch.num_rows


def _columns(where: Where | None, *names: str) -> tuple[str, ...]:
    return tuple(sorted({*names, *(where.reads if where else ())}))


def _mask(index: pa.Table, category: str, where: Where | None) -> Bool:
    of_category = pc.equal(index.column("category"), category).combine_chunks()
    mask = np.asarray(of_category.to_numpy(zero_copy_only=False), np.bool_)
    return mask & where.mask(index) if where else mask


def config_names(files: Iterable[PlannedFile]) -> dict[str, str]:
    """Names of configs by category; that of all rows is kept free."""
    categories = sorted({file.category for file in files})
    return {one: f"{one}_" if one == WHOLE else one for one in categories}


def configs(files: Sequence[PlannedFile]) -> list[dict[str, Any]]:
    """The configs of the repository as its card declares them: all rows, then a config a category."""
    named = [(WHOLE, f"{DATA}*/*.parquet")]
    named += [(name, f"{DATA}*/{category}.parquet") for category, name in config_names(files).items()]
    return [{"config_name": name, "data_files": [{"split": SPLIT, "path": path}]} for name, path in named]


def rows_by_config(files: Sequence[PlannedFile]) -> dict[str, int]:
    """Rows of the one split of each config."""
    rows: Counter[str] = Counter()
    for file in files:
        rows[file.category] += file.rows
    names = config_names(files)
    return {WHOLE: rows.total(), **{names[category]: count for category, count in sorted(rows.items())}}
