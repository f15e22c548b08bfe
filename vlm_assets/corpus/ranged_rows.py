"""Chosen rows of slices whose data files lie elsewhere: their bytes are asked for by range, and no file as a whole.

The index of the slice is here and says what each row must be: every image is held to its sha256 and every row to its
digest before anybody sees it, for the hash of a file says nothing about a part of it.
"""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from vlm_assets.corpus.batch_heads import BatchHeads, DamagedPartError, RangedBatch
from vlm_assets.corpus.batches import I64
from vlm_assets.corpus.images import (
    HELD,
    IMAGES,
    ImagePlaces,
    image_begins,
    image_data,
    image_sizes,
)
from vlm_assets.corpus.index_rows import U32, IndexRows, Wanted, taken
from vlm_assets.corpus.ranges import WASTE_SHARE, Piece, RangedObjects, fetch
from vlm_assets.corpus.slice_files import SliceFiles
from vlm_assets.corpus.slice_rows import RowColumns
from vlm_assets.corpus.staging import CHECKED, COPIED, INDEX_ONLY
from vlm_assets.store.arrays import array_of, offsets_of
from vlm_assets.words.schema import CONTENT_COLUMNS, row_digest

_WORDS: Final = tuple(name for name in CONTENT_COLUMNS if name != IMAGES)
logger = logging.getLogger("vlm_assets.corpus")

_OF_INDEX: Final = (*INDEX_ONLY, *CHECKED, *(name for name in COPIED if name not in (*_WORDS, *CHECKED)))


class RangedRows:
    """Rows of a set of slices, numbered as in the plan. For several threads at once.

    In memory are the rows that were read last, and heads of batches (see `BatchHeads`).
    """

    def __init__(self, slices: Mapping[int, SliceFiles], source: RangedObjects) -> None:
        """Opens indexes and layouts.

        Raises:
            CorpusError: one of them is damaged or holds other rows than the plan says.
        """
        self._index = IndexRows(slices, _OF_INDEX)
        self._source = source
        self._threads = ThreadPoolExecutor(source.concurrency, "vlm-ranges")
        files = [slices[number] for number in sorted(slices)]
        self._heads = BatchHeads(files, source, self._threads)

    def read(self, slices: U32, rows: U32) -> RowColumns:
        """Columns of these rows, in this order, and their images; as `SliceRows` has them of the same slices.

        Raises:
            CorpusError: an object is not what was committed, twice in a row; names object and row.
            RemoteError: an object is missing, has another size, or the store does not answer.
        """
        wanted = self._index.wanted(slices, rows)
        index = self._index.read(wanted)
        batches = np.searchsorted(self._heads.starts, wanted.positions, side="right") - 1
        try:
            return self._read(wanted, index, batches)
        except DamagedPartError as error:  # once more: the second try tells the wire from the store
            logger.warning("%s; read again", error)
            self._heads.forget(np.unique(batches).tolist())
        return self._read(wanted, index, batches)

    def _read(self, wanted: Wanted, index: Mapping[str, pa.Array], batch_of: I64) -> RowColumns:
        numbers, starts = np.unique(batch_of, return_index=True)
        opened, asked = self._heads.open(numbers.tolist())
        ends = [*starts[1:].tolist(), len(batch_of)]
        parts = [
            _Part.of(batch, wanted.positions[start:end] - self._heads.starts[batch.number])
            for batch, start, end in zip(opened, starts.tolist(), ends, strict=True)
        ]
        order = np.argsort(wanted.rank)  # which row in the order wanted each ascending place is
        sizes = np.concatenate([part.sizes for part in parts])
        begins = _begins(sizes[wanted.rank])
        held = np.empty(int(sizes.sum()), np.uint8).data  # a bytearray would be filled with zeros first
        pieces = [piece for part in parts for piece in part.words()]
        for part, start, end in zip(parts, starts.tolist(), ends, strict=True):
            pieces += part.images(held, begins[order[start:end]])
        bytes_wanted = sum(len(piece.target) for piece in pieces)
        waste = max(int(bytes_wanted * WASTE_SHARE) - asked, 0)
        fetch(pieces, self._heads.objects, self._source, self._threads, waste)
        columns = self._columns(parts, wanted)
        places = ImagePlaces(np.full(len(sizes), HELD, np.int64), begins, sizes[wanted.rank], held)
        return self._checked(wanted, {**index, **columns}, places, batch_of)

    def _columns(self, parts: Sequence["_Part"], wanted: Wanted) -> dict[str, pa.Array]:
        """Words, and sizes of images, in the order wanted."""
        found = []
        for part in parts:
            try:
                found.append(part.columns())
            except pa.ArrowInvalid as error:
                raise self._heads.damaged(part.batch.number, error) from error
        return taken(found, wanted.rank)

    def _checked(
        self, wanted: Wanted, columns: dict[str, pa.Array], places: ImagePlaces, batch_of: I64
    ) -> RowColumns:
        """The rows, once each is what the index says of it."""
        sizes = columns.pop(IMAGES)
        wrong = _first_wrong(wanted, columns, sizes, places)
        if wrong is not None:
            number = int(batch_of[wanted.rank[wrong.place]])
            raise self._heads.damaged(number, f"{wanted.name(wrong.place)}: {wrong.what}")
        return RowColumns(columns, sizes, places)


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one batch, ascending."""

    batch: RangedBatch
    local: I64
    begins: I64
    """Of each row: place of its images in the object."""
    sizes: I64
    """Of each row: bytes of its images; 0 where it has none."""

    @classmethod
    def of(cls, batch: RangedBatch, local: I64) -> "_Part":
        images = batch.content.column(IMAGES)
        begins = image_begins(images) + batch.memory.place_of(image_data(images))
        ends = offsets_of(images.values.field("bytes")).astype(np.int64)[offsets_of(images)]
        return cls(batch, local, begins[local], np.diff(ends)[local])

    def words(self) -> list[Piece]:
        """Of runs of neighbouring rows, in the memory of their batch."""
        new = np.flatnonzero(np.diff(self.local, prepend=-2) != 1)
        ends = [*new[1:].tolist(), len(self.local)]
        return [
            Piece(self.batch.object, begin, self.batch.memory.part(begin, end))
            for first, last in zip(new.tolist(), ends, strict=True)
            for begin, end in self.batch.places_of(int(self.local[first]), last - first)
        ]

    def images(self, held: memoryview, begins: I64) -> list[Piece]:
        """Of each row, at these places of `held`."""
        rows = zip(self.begins.tolist(), self.sizes.tolist(), begins.tolist(), strict=True)
        return [
            Piece(self.batch.object, place, held[begin : begin + size]) for place, size, begin in rows if size
        ]

    def columns(self) -> pa.RecordBatch:
        """Words of the rows, and sizes of their images; their texts are sound."""
        content = self.batch.content
        columns = [*(content.column(name) for name in _WORDS), image_sizes(content.column(IMAGES))]
        batch = pa.RecordBatch.from_arrays(columns, [*_WORDS, IMAGES])
        found = batch.take(array_of(self.local, pa.int64()))
        found.validate(full=True)
        return found


def _begins(sizes: I64) -> I64:
    return np.cumsum(sizes) - sizes


class _Wrong(NamedTuple):
    place: int
    what: str


def _first_wrong(
    wanted: Wanted, columns: Mapping[str, pa.Array], sizes: pa.Array, places: ImagePlaces
) -> _Wrong | None:
    """The first row that is not what its index says, and what of it."""
    names = (*_WORDS, "id", "label", "origin", "image_facts", "digest")
    values = [columns[name].to_pylist() for name in names]
    held = places.held or memoryview(b"")
    for place, (*row_values, row_sizes) in enumerate(zip(*values, sizes.to_pylist(), strict=True)):
        row = dict(zip(names, row_values, strict=True))
        if row_sizes != [fact["size_bytes"] for fact in row["image_facts"]]:
            return _Wrong(
                place, "its images are gone" if row_sizes is None else "its images have other sizes"
            )
        begin = int(places.begin[place])
        for number, fact in enumerate(row["image_facts"]):
            end = begin + fact["size_bytes"]
            if sha256(held[begin:end]).hexdigest() != fact["sha256"]:
                return _Wrong(place, f"image {number} does not have its sha256")
            begin = end
        files = wanted.files[int(wanted.slices[place])]
        if row_digest({**row, "source": files.source, "slice": files.slice}) != row["digest"]:
            return _Wrong(place, "its words do not have its digest")
    return None
