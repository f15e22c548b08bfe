"""Chosen rows of committed slices, whole: every column of data and index, compared row by row.

Record batches are read over memory maps, and only the runs that hold the rows are joined and permuted by one `take`.
`Table.take` on a chunked column would copy all of it, and 32-bit offsets would overflow past 2 GiB
(apache/arrow#39565).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.corpus.arrays import array_of, canonical, valid_mask, values_of
from vlm_assets.corpus.mapped import MappedFile, SliceFiles
from vlm_assets.corpus.work import COPIED, INDEX_ONLY
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.schema import INDEX_SCHEMA, SAMPLE_SCHEMA

_FILE_MAGIC: Final = b"ARROW1"

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class WindowRows:
    """The rows of one window in block order, and the order in which they are written."""

    slice: U32
    row: U32
    cell: U32
    place: U32

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> "WindowRows":
        """From a batch of a shard's work file."""
        return cls(*(values_of(batch.column(name)) for name in ("slice", "row", "cell", "place")))


class SliceRows:
    """Rows of a set of slices, numbered as in the plan."""

    def __init__(self, slices: Mapping[int, SliceFiles]) -> None:
        """Opens the slices.

        Raises:
            CorpusError: a file is damaged or holds other rows than the plan says.
        """
        self._slices = slices
        numbers = sorted(slices)
        files = [slices[number] for number in numbers]
        self._data = _Batches(
            SAMPLE_SCHEMA, [[one.directory / name for name in one.data_files] for one in files]
        )
        self._index = _Batches(INDEX_SCHEMA, [[one.directory / INDEX_FILE] for one in files])
        planned = np.array([one.rows for one in files], np.int64)
        for what, found in (
            ("data files have", self._data.group_rows),
            ("index has", self._index.group_rows),
        ):
            if (wrong := np.flatnonzero(found != planned)).size:
                one = files[int(wrong[0])]
                raise CorpusError(f"{one.name}: the {what} {found[wrong[0]]} rows, the plan says {one.rows}")
        self._first_row = np.zeros(max(numbers, default=-1) + 1, np.int64)
        self._first_row[numbers] = np.cumsum(planned) - planned

    def read(self, slices: U32, rows: U32) -> dict[str, pa.Array]:
        """`COPIED` and `INDEX_ONLY` columns of these rows, in this order.

        Raises:
            CorpusError: a row without images, index and data that disagree, or a column over 2 GiB.
        """
        positions = self._first_row[slices] + rows
        try:
            data = self._data.take(positions, COPIED)
            index = self._index.take(positions, (*INDEX_ONLY, "image_facts"))
        except pa.ArrowInvalid as error:
            raise CorpusError(
                f"a window cannot be read: {error}. `vlm-assets verify` tells which slice"
            ) from error
        wanted = _Wanted(self._slices, slices, rows)
        _compare(wanted, data, index)
        columns = {name: canonical(data.column(name)) for name in COPIED}
        columns |= {name: canonical(index.column(name)) for name in INDEX_ONLY}
        self._data.release_pages()
        self._index.release_pages()
        return columns


class _Batches:
    """The record batches of groups of files over memory maps, as one long run of rows."""

    def __init__(self, schema: pa.Schema, groups: Sequence[Sequence[Path]]) -> None:
        self._files: list[MappedFile] = []
        self._batches: list[pa.RecordBatch] = []
        counts: list[int] = []
        for paths in groups:
            before = len(self._batches)
            for path in paths:
                self._open(schema, path)
            counts.append(sum(batch.num_rows for batch in self._batches[before:]))
        self.group_rows = np.array(counts, np.int64)
        rows = [batch.num_rows for batch in self._batches]
        self._starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.array(rows, np.int64))))

    def _open(self, schema: pa.Schema, path: Path) -> None:
        file = MappedFile(path)
        self._files.append(file)
        source = pa.BufferReader(file.buffer)
        try:
            if file.buffer.slice(0, len(_FILE_MAGIC)).to_pybytes() == _FILE_MAGIC:
                reader = pa.ipc.open_file(source)
                found = [reader.get_batch(number) for number in range(reader.num_record_batches)]
            else:
                reader = pa.ipc.open_stream(source)
                found = list(reader)
        except (pa.ArrowInvalid, OSError) as error:
            raise CorpusError(
                f"{path} is damaged: {error}. `vlm-assets verify` tells which slice it is."
            ) from error
        if not reader.schema.equals(schema):
            raise CorpusError(f"{path} has another schema; run `vlm-assets migrate`")
        self._batches += found

    def take(self, positions: I64, names: Sequence[str]) -> pa.RecordBatch:
        """These rows in this order."""
        order = np.argsort(positions, kind="stable")
        ascending = positions[order]
        batch_of = np.searchsorted(self._starts, ascending, side="right") - 1
        new = np.ones(len(ascending), np.bool_)
        new[1:] = (np.diff(batch_of) != 0) | (np.diff(ascending) != 1)
        starts = np.flatnonzero(new)
        ends = np.append(starts[1:], len(ascending))
        runs = [
            self._batches[batch].select(list(names)).slice(first, count)
            for batch, first, count in zip(
                batch_of[starts].tolist(),
                (ascending[starts] - self._starts[batch_of[starts]]).tolist(),
                (ends - starts).tolist(),
                strict=True,
            )
        ]
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return pa.concat_batches(runs).take(array_of(rank, pa.int64()))

    def release_pages(self) -> None:
        """Takes what was read out of this process's memory."""
        for file in self._files:
            file.release_pages()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Rows in the order wanted, for messages."""

    files: Mapping[int, SliceFiles]
    slices: U32
    rows: U32

    def disagreement(self, place: int, what: str) -> CorpusError:
        """Index and data of the row at this place differ."""
        name = self.files[int(self.slices[place])].name
        return CorpusError(
            f"{name}, row {self.rows[place]}: index and data disagree in the {what}. Fetch the slice again."
        )


def _compare(wanted: _Wanted, data: pa.RecordBatch, index: pa.RecordBatch) -> None:
    """Data and index speak of the same rows, and every image is there with the size on record."""
    images, facts = data.column("images"), data.column("image_facts")
    if images.null_count:
        missing = int(np.flatnonzero(~valid_mask(images))[0])
        raise wanted.disagreement(missing, "images: they were taken down")
    if not facts.equals(index.column("image_facts")):
        told = zip(facts.to_pylist(), index.column("image_facts").to_pylist(), strict=True)
        raise wanted.disagreement(
            next(n for n, (here, there) in enumerate(told) if here != there), "image_facts"
        )
    lengths, sizes = pc.list_value_length(images), pc.list_value_length(facts)
    if (wrong := values_of(lengths) != values_of(sizes)).any():
        raise wanted.disagreement(int(wrong.argmax()), "number of images")
    held = values_of(pc.binary_length(images.flatten().field(0)))
    if (wrong := held != values_of(facts.flatten().field("size_bytes"))).any():
        owner = values_of(pc.list_parent_indices(images))[int(wrong.argmax())]
        raise wanted.disagreement(int(owner), "size of an image")
    if nulls := [name for name in INDEX_ONLY if name != "dhash" and index.column(name).null_count]:
        raise wanted.disagreement(0, f"nulls in index column {nulls[0]}")
