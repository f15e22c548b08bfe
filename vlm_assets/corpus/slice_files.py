"""The files of a committed slice, and the fixed-width columns of its index by row number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.corpus.batches import MappedFile
from vlm_assets.store.arrays import dtype_of, strings_of, values_of
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.manifest import FileEntry
from vlm_assets.words.schema import INDEX_SCHEMA


@dataclass(frozen=True, slots=True)
class SliceFiles:
    """Where the rows of one slice of the plan lie."""

    source: str
    slice: str
    directory: Path
    data_files: tuple[str, ...]
    rows: int
    multi_image_rows: int = 0
    objects: tuple[FileEntry, ...] = ()
    """What the data files are at the remote, where they are not in the folder: rows are read by range."""

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.source}/{self.slice}"


class SliceIndex:
    """Fixed-width columns of one slice's index, by row number."""

    def __init__(self, files: SliceFiles) -> None:
        self.files = files
        self._file = MappedFile(files.directory / INDEX_FILE)
        self._reader = pa.ipc.open_file(pa.BufferReader(self._file.buffer))
        if not self._reader.schema.equals(INDEX_SCHEMA):
            raise CorpusError(f"{files.name}: {self._file.path} has another schema; run `vlm-assets migrate`")
        batches = [self._reader.get_batch(i) for i in range(self._reader.num_record_batches)]
        self._batches = batches
        self._starts = np.concatenate(([0], np.cumsum([b.num_rows for b in batches], dtype=np.int64)))
        if int(self._starts[-1]) != files.rows:
            raise CorpusError(
                f"{files.name}: the index has {so_many(self._starts[-1], 'row')}, the plan says {files.rows}"
            )
        self._views: dict[tuple[int, str], NDArray[Any]] = {}

    @property
    def name(self) -> str:
        """`<source>/<slice>`."""
        return self.files.name

    @property
    def size_bytes(self) -> int:
        """Size of the index file."""
        return int(self._file.buffer.size)

    def read_ahead(self, columns: Sequence[str]) -> None:
        """Has the kernel read these columns."""
        for batch in self._batches:
            for column in columns:
                for buffer in batch.column(column).buffers():
                    if buffer is not None:
                        place = self._file.place_of(buffer)
                        self._file.read_ahead(place, place + buffer.size)

    def take(self, columns: Sequence[str], rows: NDArray[np.uint32]) -> list[NDArray[Any]]:
        """Values of each column at `rows`, which may stand in any order."""
        batch_of = np.searchsorted(self._starts[1:], rows, side="right")
        batches = np.unique(batch_of).tolist()
        if len(batches) == 1:
            local = rows - self._starts[batches[0]]
            return [self._view(batches[0], column)[local] for column in columns]
        out = [np.empty(len(rows), fixed_dtype(column)) for column in columns]
        for batch in batches:
            here = np.flatnonzero(batch_of == batch)
            local = rows[here] - self._starts[batch]
            for values, column in zip(out, columns, strict=True):
                values[here] = self._view(batch, column)[local]
        return out

    def rows_with(self, column: str, texts: Sequence[str]) -> NDArray[np.int64]:
        """Rows whose string column holds one of `texts`, ascending."""
        wanted = strings_of(texts)
        found = [pc.is_in(batch.column(column), value_set=wanted) for batch in self._batches]
        places = [pc.indices_nonzero(mask) for mask in found]
        parts = [values_of(p).astype(np.int64) + s for p, s in zip(places, self._starts[:-1], strict=True)]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def rows_with_image(self, hashes: Sequence[str]) -> NDArray[np.int64]:
        """Rows that have one of these images (sha256 in hex) among several, ascending."""
        wanted = strings_of(hashes)
        parts = [np.zeros(0, np.int64)]
        for batch, start in zip(self._batches, self._starts[:-1], strict=True):
            facts = batch.column("image_facts")
            shown = pc.is_in(facts.flatten().field("sha256"), value_set=wanted)
            parts.append(np.unique(values_of(pc.list_parent_indices(facts).filter(shown))) + start)
        return np.concatenate(parts)

    def release_pages(self) -> None:
        """See `MappedFile.release_pages`."""
        self._file.release_pages()

    def _view(self, batch: int, column: str) -> NDArray[Any]:
        view = self._views.get((batch, column))
        if view is None:
            view = _fixed_view(self._batches[batch].column(column), column, self.files.name)
            self._views[batch, column] = view
        return view


def fixed_dtype(column: str) -> np.dtype[Any]:
    """How numpy sees the values of a fixed-width index column."""
    return dtype_of(INDEX_SCHEMA.field(column).type)


def _fixed_view(array: pa.Array, column: str, name: str) -> NDArray[Any]:
    """The values of a column without nulls as numpy sees them."""
    if array.null_count:
        raise CorpusError(f"{name}: {array.null_count} nulls in index column {column}")
    return values_of(array)


def by_slice(numbers: NDArray[np.uint32]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each slice number with the places where it stands, ascending."""
    order = np.argsort(numbers, kind="stable")
    sorted_numbers = numbers[order]
    starts = np.flatnonzero(np.append(True, sorted_numbers[1:] != sorted_numbers[:-1])[: len(numbers)])
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(numbers)], strict=False):
        yield int(sorted_numbers[start]), order[start:end]
