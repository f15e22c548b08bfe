"""All rows of the supply as a table of numbers, and the exclusions that look at one row alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.allocation.benchmarks import Benchmark, Way, telling
from vlm_assets.allocation.columns import (
    contained,
    hash_words,
    hex_words,
    id_digests,
    index_batches,
    numbers,
    ordered_words,
    validity,
    words_of_hex,
)
from vlm_assets.allocation.filters import RowFilters
from vlm_assets.allocation.labels import count_labels
from vlm_assets.allocation.manifest import FILE_OVERHEAD_BYTES, WINDOW_OVERHEAD_BYTES
from vlm_assets.allocation.reasons import ExclusionReason, reasons_of
from vlm_assets.allocation.supply import SupplySlice
from vlm_assets.catalog.spec import Catalog, CorpusSpec, SourceSpec
from vlm_assets.store.arrays import array_of, valid_mask, values_of
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.keys import Words
from vlm_assets.words.layout import nfc
from vlm_assets.words.moving import moving
from vlm_assets.words.schema import NO_WORDS
from vlm_assets.words.tombstones import Tombstones

NO_CELL: Final = 0xFFFF_FFFF
_NO_WORDS: Final = np.frombuffer(NO_WORDS, dtype="<u8")[0]

Places = NDArray[np.int64]
"""Row numbers of a `RowTable`."""
Match = tuple[int, Way, Places]
"""Number of a benchmark, and rows that match it in this way."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One source in one subcategory."""

    category: str
    subcategory: str
    source: str
    licence: str


@dataclass(slots=True)
class RowTable:
    """Every row of the supply. Slices stand in order of precedence, rows of a slice as in its index.

    So the number of a row orders rows of different slices by precedence; rows of one slice need their ids.
    """

    slices: tuple[SupplySlice, ...]
    starts: Places
    """First row of each slice, and the number of rows at the end."""
    cells: tuple[Cell, ...]
    cell: NDArray[np.uint32]
    """Number of the row's cell; NO_CELL where its label gives none."""
    reasons: tuple[str, ...]
    """Those that a row can be excluded for, in the order in which they are tested."""
    reason: NDArray[np.uint8]
    """1 and more: the place in `reasons`, counted from 1; 0 where not excluded."""
    key: tuple[Words, Words]
    """The first 128 bits of the row key, as two little-endian words. Keys equal in these are equal."""
    words: Words | None
    """The first 64 bits of content_sha256 under `exact: image`: of rows with one key, those of other words differ."""
    dhash: Words | None
    comparable: NDArray[np.bool_] | None
    """Rows of one image with a dhash that is not of a flat image."""
    silent: NDArray[np.bool_] | None
    """Rows without messages: those that may be near duplicates."""
    further: list[tuple[Places, Words]] = field(default_factory=list)
    """Of records of several images: row and dhash of each image that is not flat."""
    sources: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Rows of each source: first, and one past the last."""
    missing: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """By filter: rows that no earlier reason excludes and that lack a value it needs, a number a cell."""
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    """By source: rows that lead to no subcategory, by label."""
    matches: list[Match] = field(default_factory=list)
    """Rows that `decontaminate` excludes, by benchmark and way."""

    @property
    def rows(self) -> int:
        """All rows, excluded ones too."""
        return int(self.starts[-1])

    def code(self, reason: str) -> int:
        """The number of a reason in `reason`."""
        return self.reasons.index(reason) + 1

    def exclude(self, places: Places, reason: str) -> None:
        """Excludes rows that no earlier reason excludes."""
        self.reason[places] = self.code(reason)

    def slice_numbers(self, places: Places) -> NDArray[np.int64]:
        """The slice of each of these rows."""
        return np.searchsorted(self.starts, places, side="right") - 1

    def ids(self, places: Places) -> pa.Array:
        """Ids of these rows, which must be ascending; reads the id column of the batches that hold them."""
        parts: list[pa.Array] = []
        owners = self.slice_numbers(places)
        for number in np.unique(owners):
            wanted = places[owners == number] - self.starts[number]
            begin = 0
            for batch in index_batches(self.slices[number].path, ["id"]):
                first, last = np.searchsorted(wanted, [begin, begin + batch.num_rows])
                if last > first:
                    parts.append(batch.column(0).take(array_of(wanted[first:last] - begin, pa.int64())))
                begin += batch.num_rows
        return pa.concat_arrays(parts) if parts else pa.array([], pa.string())


def precedence_order(corpus: CorpusSpec, supply: Sequence[SupplySlice]) -> tuple[SupplySlice, ...]:
    """Slices by precedence: the declared sources, the others by name, then by the ids that their rows begin with."""
    declared = {name: place for place, name in enumerate(corpus.dedup.precedence)}

    def place(entry: SupplySlice) -> tuple[int, bytes, bytes]:
        return (declared.get(entry.source, len(declared)), entry.source.encode(), f"{entry.slice}/".encode())

    return tuple(sorted(supply, key=place))


def cells_of(catalog: Catalog) -> tuple[Cell, ...]:
    """Every cell that a row of an enabled source can fall into, sorted by (category, subcategory, source)."""
    leaves = sorted({(nfc(category), nfc(leaf)) for category, leaf in catalog.corpus.leaves()})
    cells = []
    for spec in catalog.sources:
        if not spec.enabled:
            continue
        fixed = _fixed_subcategories(spec)
        cells += [
            Cell(category, leaf, spec.name, spec.licence)
            for category, leaf in leaves
            if category == nfc(spec.category) and (fixed is None or leaf in fixed)
        ]
    return tuple(sorted(cells, key=lambda cell: (cell.category, cell.subcategory, cell.source)))


def _fixed_subcategories(spec: SourceSpec) -> frozenset[str] | None:
    if spec.subcategory is not None:
        return frozenset({nfc(spec.subcategory)})
    rule = spec.subcategory_from
    return frozenset(map(nfc, rule.map.values())) if rule is not None and rule.map is not None else None


class RowReader:
    """Reads the supply into a `RowTable`, one batch at a time, and tests the reasons up to `decontaminate`.

    `with_dhash`: also keep what nearness needs. `benchmarks`: whose images to exclude; pictures and grams are not
    looked at here.
    """

    def __init__(
        self,
        catalog: Catalog,
        tombstones: Tombstones,
        *,
        with_dhash: bool = False,
        benchmarks: Sequence[Benchmark] = (),
    ) -> None:
        self._corpus = catalog.corpus
        self._specs = {spec.name: spec for spec in catalog.sources}
        self._exact = catalog.corpus.dedup.exact
        self._with_dhash = with_dhash
        self._cells = cells_of(catalog)
        self._cell_numbers = {
            (cell.source, cell.subcategory): number for number, cell in enumerate(self._cells)
        }
        self._tombstoned = words_of_hex(sorted(tombstones.image_sha256))
        self._tombstoned_ids = tombstones.ids
        self._benchmarks = benchmarks
        self._decontaminate = ordered_words([one.images for one in benchmarks])
        self._room_bytes = _room_bytes(catalog.corpus, self._cells)
        self._reasons = reasons_of(catalog.corpus.filters)
        self._filters = RowFilters(catalog)

    def read(self, supply: Sequence[SupplySlice]) -> RowTable:
        """The table over `supply`.

        Raises:
            AllocationError: an index is missing, damaged, or has not as many rows as its slice's manifest says; so of
                values that filters read; rows lack such values where a filter says `missing: error`.
        """
        ordered = precedence_order(self._corpus, supply)
        starts = np.zeros(len(ordered) + 1, dtype=np.int64)
        np.cumsum([entry.rows for entry in ordered], out=starts[1:])
        table = self._empty(ordered, starts)
        step = moving("allocation: reading rows", int(starts[-1]))
        with closing(self._filters.told(ordered)) as told, step as advance:
            for number, (entry, of_slice) in enumerate(zip(ordered, told, strict=True)):
                begin, end = int(starts[number]), int(starts[number + 1])
                first, _ = table.sources.get(entry.source, (begin, end))
                table.sources[entry.source] = (first, end)
                self._filters.begin(of_slice)
                self._read_slice(table, entry, begin, end)
                advance(end - begin)
        self._filters.refuse_missing(table.ids)
        return table

    def _read_slice(self, table: RowTable, entry: SupplySlice, begin: int, end: int) -> None:
        at = begin
        for batch in index_batches(entry.path, self._columns(entry)):
            if at + batch.num_rows <= end:
                self._add(table, entry, at, batch)
            at += batch.num_rows
        if at != end:
            raise AllocationError(
                f"{entry.path}: the index has {so_many(at - begin, 'row')}, the manifest {entry.rows}; run "
                f"`vlm-assets verify`"
            )

    def _empty(self, ordered: tuple[SupplySlice, ...], starts: Places) -> RowTable:
        rows = int(starts[-1])

        def words() -> Words:
            return np.zeros(rows, dtype=np.uint64)

        return RowTable(
            slices=ordered,
            starts=starts,
            cells=self._cells,
            cell=np.full(rows, NO_CELL, dtype=np.uint32),
            reasons=self._reasons,
            reason=np.zeros(rows, dtype=np.uint8),
            key=(words(), words()),
            words=words() if self._exact == "image" else None,
            dhash=words() if self._with_dhash else None,
            comparable=np.zeros(rows, dtype=bool) if self._with_dhash else None,
            silent=np.zeros(rows, dtype=bool) if self._with_dhash else None,
        )

    def _columns(self, entry: SupplySlice) -> list[str]:
        names = ["row_bytes"]
        listed = len(self._tombstoned) or len(self._decontaminate)
        if self._exact == "image" or listed:
            names.append("images_sha256")
        if entry.multi_image_rows and (listed or self._with_dhash):
            names.append("image_facts")
        if self._exact == "none" or self._ids_taken_down(entry):
            names.append("id")
        if self._exact != "none":
            names.append("content_sha256")
        if self._specs[entry.source].subcategory is None:
            names.append("label")
        if self._corpus.min_side_px:
            names.append("min_side_px")
        if self._with_dhash:
            names += ["dhash", "messages_sha256"]
        return names

    def _ids_taken_down(self, entry: SupplySlice) -> list[str]:
        prefix = f"{entry.source}/{entry.slice}/"
        return sorted(name for name in self._tombstoned_ids if name.startswith(prefix))

    def _add(self, table: RowTable, entry: SupplySlice, begin: int, batch: pa.RecordBatch) -> None:
        span = slice(begin, begin + batch.num_rows)
        self._add_keys(table, span, batch)
        table.cell[span] = self._cell_column(entry, batch)
        if table.dhash is not None and table.comparable is not None and table.silent is not None:
            column = batch.column("dhash")
            table.dhash[span] = numbers(column)
            table.comparable[span] = validity(column) & telling(table.dhash[span])
            table.silent[span] = hash_words(batch.column("messages_sha256"))[:, 0] == _NO_WORDS
            if entry.multi_image_rows:
                table.further.append(_further_pictures(batch.column("image_facts"), begin))
        self._exclude(table, span, self._tests(entry, batch, table.cell[span]))
        self._note_labels(table, entry, span, batch)
        if len(self._decontaminate):
            self._note_matches(table, span, batch)
        self._count_missing(table, entry, span)

    def _add_keys(self, table: RowTable, span: slice, batch: pa.RecordBatch) -> None:
        if self._exact == "none":
            keys = id_digests(batch.column("id"))
        else:
            keys = hash_words(batch.column("images_sha256" if self._exact == "image" else "content_sha256"))
        table.key[0][span], table.key[1][span] = keys[:, 0], keys[:, 1]
        if table.words is not None:
            table.words[span] = hash_words(batch.column("content_sha256"))[:, 0]

    def _cell_column(self, entry: SupplySlice, batch: pa.RecordBatch) -> NDArray[np.uint32]:
        spec = self._specs[entry.source]
        if spec.subcategory is not None:
            number = self._cell_number(spec, spec.subcategory)
            return np.full(batch.num_rows, number, dtype=np.uint32)
        labels = batch.column("label").dictionary_encode()
        numbers_of = [
            self._cell_number(spec, spec.subcategory_of(label)) for label in labels.dictionary.to_pylist()
        ]
        # Nulls take the last place: a row without a label has the subcategory of none.
        numbers_of.append(self._cell_number(spec, spec.subcategory_of(None)))
        there = valid_mask(labels.indices)
        places: NDArray[np.int32] = np.where(there, values_of(labels.indices), np.int32(len(numbers_of) - 1))
        return np.array(numbers_of, dtype=np.uint32)[places]

    def _cell_number(self, spec: SourceSpec, subcategory: str | None) -> int:
        return (
            NO_CELL if subcategory is None else self._cell_numbers.get((spec.name, nfc(subcategory)), NO_CELL)
        )

    def _tests(
        self, entry: SupplySlice, batch: pa.RecordBatch, cell: NDArray[np.uint32]
    ) -> Mapping[str, NDArray[np.bool_]]:
        """Rows that each reason holds for, in the order of the reasons."""
        tests: dict[str, NDArray[np.bool_]] = {}
        if len(self._tombstoned):
            tests[ExclusionReason.TOMBSTONE] = _with_image_of(batch, self._tombstoned)
        if taken_down := self._ids_taken_down(entry):
            named = pc.is_in(batch.column("id"), pa.array(taken_down)).to_numpy(zero_copy_only=False)
            tests[ExclusionReason.TOMBSTONE] = tests.get(ExclusionReason.TOMBSTONE, named) | named
        tests[ExclusionReason.UNMAPPED_LABEL] = cell == NO_CELL
        if not self._corpus.licences.admits(self._specs[entry.source].licence):
            tests[ExclusionReason.LICENCE] = np.ones(batch.num_rows, dtype=bool)
        if self._corpus.min_side_px:
            tests[ExclusionReason.MIN_SIDE] = numbers(batch.column("min_side_px")) < self._corpus.min_side_px
        tests |= self._filters.tests(batch.num_rows)
        tests[ExclusionReason.TOO_LARGE] = (
            numbers(batch.column("row_bytes")) > self._room_bytes[np.minimum(cell, len(self._cells))]
        )
        if len(self._decontaminate):
            tests[ExclusionReason.DECONTAMINATE] = _with_image_of(batch, self._decontaminate)
        return tests

    @staticmethod
    def _exclude(table: RowTable, span: slice, tests: Mapping[str, NDArray[np.bool_]]) -> None:
        reason = table.reason[span]
        for name, holds in tests.items():
            reason[holds & (reason == 0)] = table.code(name)

    @staticmethod
    def _note_labels(table: RowTable, entry: SupplySlice, span: slice, batch: pa.RecordBatch) -> None:
        rows = np.flatnonzero(table.reason[span] == table.code(ExclusionReason.UNMAPPED_LABEL))
        if len(rows) and "label" in batch.schema.names:
            labels = batch.column("label").take(pa.array(rows))
            count_labels(table.labels.setdefault(entry.source, Counter()), labels)

    def _note_matches(self, table: RowTable, span: slice, batch: pa.RecordBatch) -> None:
        """Which benchmarks the rows have images of that are excluded for it."""
        rows = np.flatnonzero(table.reason[span] == table.code(ExclusionReason.DECONTAMINATE))
        if not len(rows):
            return
        excluded = batch.take(pa.array(rows))
        for number, one in enumerate(self._benchmarks):
            found = rows[_with_image_of(excluded, one.images)]
            if len(found):
                table.matches.append((number, Way.EXACT, span.start + found))

    def _count_missing(self, table: RowTable, entry: SupplySlice, span: slice) -> None:
        """Of the rows that no reason before the filter excludes."""
        reason = table.reason[span]
        for name, missing in self._filters.missing().items():
            rows = missing & ((reason == 0) | (reason >= table.code(name)))
            if rows.any():
                cells = np.minimum(table.cell[span][rows], len(table.cells)).astype(np.int64)
                counts = np.bincount(cells, minlength=len(table.cells) + 1)
                table.missing[name] = counts + table.missing.get(name, np.int64(0))
                self._filters.note_missing(name, entry, span.start + np.flatnonzero(rows))


def _with_image_of(batch: pa.RecordBatch, listed: Words) -> NDArray[np.bool_]:
    """Rows one of whose images is listed. Records of several images are looked at image by image."""
    found = contained(hash_words(batch.column("images_sha256")), listed)
    if "image_facts" in batch.schema.names:
        owners, facts = _images_of(batch.column("image_facts"))
        found[owners[contained(hex_words(facts.field("sha256")), listed)]] = True
    return found


def _images_of(facts: pa.ListArray) -> tuple[Places, pa.StructArray]:
    """The images of the records that have several: the row in the batch and the facts of each."""
    several = facts.filter(pc.greater(pc.list_value_length(facts), 1))
    rows = np.flatnonzero(pc.greater(pc.list_value_length(facts), 1).to_numpy(zero_copy_only=False))
    owners: Places = rows[pc.list_parent_indices(several).to_numpy(zero_copy_only=False)]
    return owners, several.flatten()


def _further_pictures(facts: pa.ListArray, begin: int) -> tuple[Places, Words]:
    owners, images = _images_of(facts)
    column = images.field("dhash")
    values = numbers(column)
    kept = validity(column) & telling(values)
    return begin + owners[kept], values[kept]


def _room_bytes(corpus: CorpusSpec, cells: Sequence[Cell]) -> NDArray[np.int64]:
    """The largest `row_bytes` of each cell that fits a shard alone; at the end, for no cell, no limit."""
    fixed = WINDOW_OVERHEAD_BYTES + FILE_OVERHEAD_BYTES
    assigned = [
        sum(len(text.encode()) for text in (cell.category, cell.subcategory, cell.licence)) for cell in cells
    ]
    rooms = [corpus.shard.max_bytes - fixed - size_bytes for size_bytes in assigned]
    return np.array([*rooms, np.iinfo(np.int64).max], dtype=np.int64)
