"""Columns of chosen rows out of the indexes of slices, and the order in which rows are wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.corpus.batches import I64, Batches, MappedFile
from vlm_assets.corpus.slice_files import SliceFiles
from vlm_assets.corpus.staging import INDEX_ONLY
from vlm_assets.store.arrays import array_of, canonical
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.schema import INDEX_SCHEMA

GAP_ROWS: Final = 32
"""Unselected rows between two selected ones that are read rather than cut out: a cut costs about as much."""
DECODED_BATCHES: Final = 4_096
"""Some 20 KB each."""

U32 = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Rows in the order wanted, and as ascending places in the long run of all slices' rows."""

    files: Mapping[int, SliceFiles]
    slices: U32
    rows: U32
    positions: I64
    rank: I64
    """Place among `positions` of each row."""

    def disagreement(self, place: int, what: str) -> CorpusError:
        """Index and data of the row at this place differ."""
        return CorpusError(
            f"{self.name(place)}: index and data disagree in the {what}. Fetch the slice again."
        )

    def name(self, place: int) -> str:
        """The row at this place, for messages."""
        return f"{self.files[int(self.slices[place])].name}, row {self.rows[place]}"


class IndexRows:
    """Rows of the indexes of a set of slices, numbered as in the plan. For several threads at once."""

    def __init__(self, slices: Mapping[int, SliceFiles], columns: Sequence[str]) -> None:
        """Opens the indexes.

        Raises:
            CorpusError: an index is damaged or holds other rows than the plan says.
        """
        self._slices = slices
        self._columns = list(columns)
        numbers = sorted(slices)
        files = [slices[number] for number in numbers]
        self._batches = Batches(INDEX_SCHEMA, (one.directory / INDEX_FILE for one in files))
        for one, found in zip(files, self._batches.file_rows.tolist(), strict=True):
            check_rows(one, "index has", found)
        rows = np.array([one.rows for one in files], np.int64)
        self._first_row = np.zeros(max(numbers, default=-1) + 1, np.int64)
        self._first_row[numbers] = np.cumsum(rows) - rows
        self._batch = lru_cache(DECODED_BATCHES)(self._read_batch)

    def wanted(self, slices: U32, rows: U32) -> Wanted:
        """These rows, in this order."""
        positions = self._first_row[slices] + rows
        order = np.argsort(positions)
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return Wanted(self._slices, slices, rows, positions[order], rank)

    def read(self, wanted: Wanted) -> dict[str, pa.Array]:
        """The columns of these rows.

        Raises:
            CorpusError: the index is damaged.
        """
        runs, local = self._batches.runs(wanted.positions, GAP_ROWS)
        parts = [self._batches.checked(one, self._batch(one).slice(first, rows)) for one, first, rows in runs]
        columns = taken(parts, local[wanted.rank])
        if nulls := [name for name in INDEX_ONLY if name != "dhash" and columns[name].null_count]:
            raise wanted.disagreement(0, f"nulls in index column {nulls[0]}")
        release(self._batches, runs.batch)
        return columns

    def _read_batch(self, number: int) -> pa.RecordBatch:
        batch = self._batches.read(number).select(self._columns)
        read_ahead(self._batches.file(number), batch)
        return batch


def check_rows(files: SliceFiles, what: str, found: int) -> None:
    """Returns where a slice has the rows that the plan says.

    Raises:
        CorpusError: it has others.
    """
    if found != files.rows:
        raise CorpusError(f"{files.name}: the {what} {so_many(found, 'row')}, the plan says {files.rows}")


def read_ahead(file: MappedFile, batch: pa.RecordBatch, but: pa.Buffer | None = None) -> None:
    """Has the kernel read a whole batch at once: other windows want the rest of it soon."""
    for column in batch.columns:
        for buffer in column.buffers():
            if buffer is not None and (but is None or buffer.address != but.address):
                place = file.place_of(buffer)
                file.read_ahead(place, place + buffer.size)


def release(batches: Batches, numbers: I64) -> None:
    """Takes the pages of these batches' files out of memory."""
    for file in np.unique(batches.file_of[numbers]).tolist():
        batches.files[file].release_pages()


def taken(runs: Sequence[pa.RecordBatch], places: I64) -> dict[str, pa.Array]:
    """Rows of what the runs add up to."""
    found = pa.concat_batches(runs).take(array_of(places, pa.int64()))
    return {name: canonical(column) for name, column in zip(found.schema.names, found.columns, strict=True)}
