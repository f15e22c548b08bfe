"""The rows of an allocation plan with what decides their place: reads `plan.arrow` and a few index columns."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vlm_assets.allocation.files import PLAN_FILE
from vlm_assets.allocation.manifest import AllocatedSlice, AllocationManifest
from vlm_assets.corpus.order import (
    Blocks,
    block_keys,
    group_bits,
    groups_of,
    planned_bytes,
    row_hashes,
    slice_seed,
)
from vlm_assets.corpus.slice_files import SliceFiles, SliceIndex
from vlm_assets.store.ahead import ahead
from vlm_assets.store.arrays import values_of
from vlm_assets.store.away import away_in
from vlm_assets.store.slices import data_file_names
from vlm_assets.store.sound_files import IndexFile
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.layout import VERSIONS, DataRoot
from vlm_assets.words.manifest import SliceManifest
from vlm_assets.words.tombstones import Tombstones

_MAX_ROW_BYTES: Final = 2**31 - 1
_COLUMNS: Final = ("item_hash", "record", "row_bytes", "digest")
"""Of the index: what decides places, and what the shards' hashes are made of."""
_SLICES_AHEAD: Final = 8
_OPENING_THREADS: Final = 4
"""Opening an index waits for the disk a few times."""

U32 = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class PlannedRows:
    """Every selected row, one entry a row in all arrays but those of `blocks` that count blocks."""

    slice: U32
    row: U32
    cell: U32
    hole: NDArray[np.bool_]
    blocks: Blocks
    indexes: dict[int, SliceIndex]
    files: dict[int, SliceFiles]


def find_slice(data_root: DataRoot, entry: AllocatedSlice) -> SliceFiles:
    """Files of the version that the plan was made with, or of the current one where its content is the same.

    A takedown writes a new version with the same content hash; the rows it emptied are holes. Where neither is on
    this disk: the index of one of them, whose rows are read by range; so are those of a version whose data is away.

    Raises:
        CorpusError: none is there.
    """
    name = f"{entry.source}/{entry.slice}"
    planned = data_root.source(entry.source) / VERSIONS / entry.version
    current = current_version(data_root.slice(entry.source, entry.slice))
    index_alone = data_root.index_of_slice(entry.source, entry.slice, entry.version)
    for directory in (planned, current, index_alone):
        if directory is None or not directory.is_dir():
            continue
        manifest = read_manifest(directory, SliceManifest)
        if manifest.content_hash == entry.content_hash:
            data_files = tuple(data_file_names(manifest.files))
            return SliceFiles(
                entry.source,
                entry.slice,
                directory,
                data_files,
                entry.rows,
                manifest.multi_image_rows,
                tuple(manifest.files[one] for one in data_files)
                if directory == index_alone or away_in(directory)
                else (),
            )
    raise CorpusError(
        f"{name}: the version {entry.version} of the plan is gone and the current one has other content. "
        "Allocate again."
    )


def find_slices(data_root: DataRoot, allocation: AllocationManifest) -> dict[int, SliceFiles]:
    """Every slice with selected rows, by its number in the plan; see `find_slice`."""
    return {
        number: find_slice(data_root, entry)
        for number, entry in enumerate(allocation.slices)
        if entry.selected
    }


def read_planned_rows(
    plan_dir: Path,
    allocation: AllocationManifest,
    files: dict[int, SliceFiles],
    tombstones: Tombstones,
) -> PlannedRows:
    """All selected rows with their blocks, out of `find_slices`. About 30 bytes of memory a row.

    Raises:
        CorpusError: the plan and the slices disagree.
    """
    lengths = np.array(
        [len(f"{c.category}{c.subcategory}{c.licence}".encode()) for c in allocation.cells], np.int64
    )
    total = sum(entry.selected for entry in allocation.slices)
    columns = {name: np.empty(total, np.uint32) for name in ("slice", "row", "cell", "size")}
    hashes, hole = np.empty(total, np.uint64), np.zeros(total, np.bool_)
    parts: list[tuple[NDArray[np.uint64], ...]] = []
    indexes: dict[int, SliceIndex] = {}
    taken = _TakenDown(tombstones)
    done = 0
    for (number, rows, cells), index in _with_indexes(_selected(plan_dir, allocation), files):
        entry, indexes[number] = allocation.slices[number], index
        here = slice(done, done + len(rows))
        part = _SlicePart.read(allocation, entry, index, rows, cells, lengths)
        columns["slice"][here] = number
        columns["row"][here], columns["cell"][here] = part.row, part.cell
        columns["size"][here], hashes[here] = part.size, part.row_hash
        hole[here] = taken.mask(index, part.row)
        parts.append(part.block_columns(number, done))
        index.release_pages()
        done += len(rows)
    blocks = _blocks(parts, columns["size"], hashes)
    return PlannedRows(columns["slice"], columns["row"], columns["cell"], hole, blocks, indexes, files)


def _with_indexes(
    selected: Iterable[tuple[int, U32, U32]], files: dict[int, SliceFiles]
) -> Iterator[tuple[tuple[int, U32, U32], SliceIndex]]:
    """Each slice with its index, opened and read ahead while others are worked on."""

    def opened(one: tuple[int, U32, U32]) -> tuple[tuple[int, U32, U32], SliceIndex]:
        index = SliceIndex(files[one[0]])
        index.read_ahead(_COLUMNS)
        return one, index

    return ahead(opened, selected, threads=_OPENING_THREADS, most=_SLICES_AHEAD)


def _blocks(parts: list[tuple[NDArray[np.uint64], ...]], sizes: U32, hashes: NDArray[np.uint64]) -> Blocks:
    empty = np.zeros(0, np.uint64)
    numbers, groups, counters, keys, starts, counts = (
        np.concatenate(column) for column in (zip(*parts, strict=True) if parts else ((empty,),) * 6)
    )
    return Blocks(
        numbers.astype(np.uint32), groups, counters, keys, starts.astype(np.int64), counts.astype(np.int64),
        sizes, hashes,
    )  # fmt: skip


def _selected(plan_dir: Path, allocation: AllocationManifest) -> Iterator[tuple[int, U32, U32]]:
    """(slice, rows, cells) of each slice with selected rows, checked against the manifest."""
    names = [(entry.source, entry.slice) for entry in allocation.slices]
    if names != sorted(set(names)):
        raise CorpusError(f"{plan_dir}: the slices of the plan are not sorted by source and slice")
    reader = IndexFile(plan_dir / PLAN_FILE)
    expected = [number for number, entry in enumerate(allocation.slices) if entry.selected]
    if reader.num_record_batches != len(expected):
        raise CorpusError(
            f"{plan_dir}: {so_many(reader.num_record_batches, 'batch', 'batches')} for "
            f"{so_many(len(expected), 'slice')}. Allocate again."
        )
    for position, number in enumerate(expected):
        batch = reader.get_batch(position)
        slices, rows, cells = (values_of(batch.column(name)) for name in ("slice", "row", "cell"))
        entry = allocation.slices[number]
        fits = (
            len(rows) == entry.selected
            and bool((slices == number).all())
            and bool((rows[1:] > rows[:-1]).all())
            and int(rows[-1]) < entry.rows
            and int(cells.max()) < len(allocation.cells)
        )
        if not fits:
            raise CorpusError(
                f"{entry.source}/{entry.slice}: the plan's rows contradict its manifest. Allocate again."
            )
        yield number, rows, cells


@dataclass(frozen=True, slots=True)
class _SlicePart:
    """Selected rows of one slice, in slice order."""

    h0: int
    row: U32
    cell: U32
    size: NDArray[np.int64]
    row_hash: NDArray[np.uint64]
    group: NDArray[np.uint64]
    number: NDArray[np.uint64]

    @classmethod
    def read(
        cls,
        allocation: AllocationManifest,
        entry: AllocatedSlice,
        index: SliceIndex,
        rows: U32,
        cells: U32,
        lengths: NDArray[np.int64],
    ) -> "_SlicePart":
        item_hash, records, row_bytes = index.take(("item_hash", "record", "row_bytes"), rows)
        record, size = records.astype(np.uint64), row_bytes + lengths[cells]
        spec = allocation.shard
        largest = int(size.max())
        if largest > _MAX_ROW_BYTES or planned_bytes(largest, spec.window_bytes) > spec.max_bytes:
            raise CorpusError(
                f"{entry.source}/{entry.slice}, row {rows[size.argmax()]}: {largest} bytes are more than a shard of "
                f"{spec.max_bytes} (shard.max_bytes) or a column ({_MAX_ROW_BYTES}) holds"
            )
        bits = group_bits(entry.items_per_slice, spec.block_rows)
        group = groups_of(item_hash, container=entry.container, bits=bits)
        number = record // np.uint64(spec.block_rows)
        h0 = slice_seed(allocation.seed, entry.source, entry.slice)
        row_hash = row_hashes(h0, item_hash, record)
        return cls(h0, rows, cells, size, row_hash, group, number)

    def block_columns(self, slice_number: int, first: int) -> tuple[NDArray[np.uint64], ...]:
        """(slice, group, number, key, start, count) of runs of one block; `first` is the place of the first row.

        Blocks of a loose slice interleave where items have many records: such a block is several runs, which stand
        together, in slice order, once sorted.
        """
        new = np.ones(len(self.row), np.bool_)
        new[1:] = (self.group[1:] != self.group[:-1]) | (self.number[1:] != self.number[:-1])
        starts = np.flatnonzero(new)
        counts = np.diff(np.append(starts, len(self.row)))
        group, number = self.group[starts], self.number[starts]
        return (
            np.full(len(starts), slice_number, np.uint64),
            group,
            number,
            block_keys(self.h0, group, number),
            (starts + first).astype(np.uint64),
            counts.astype(np.uint64),
        )


class _TakenDown:
    """Which rows are covered by takedowns. Plans hold none of P, so what is found here is H."""

    def __init__(self, tombstones: Tombstones) -> None:
        self._images = sorted(tombstones.image_sha256)
        self._digests = np.frombuffer(b"".join(bytes.fromhex(one) for one in self._images), "V32")
        self._ids = sorted(tombstones.ids)

    def mask(self, index: SliceIndex, rows: U32) -> NDArray[np.bool_]:
        """True for rows of a slice that are holes."""
        mask = np.zeros(len(rows), np.bool_)
        if len(self._digests):
            held = index.take(("images_sha256",), rows)[0]
            mask |= np.isin(_comparable(held), _comparable(self._digests))
            if index.files.multi_image_rows:
                mask |= np.isin(rows, index.rows_with_image(self._images))
        ids = [one for one in self._ids if one.startswith(f"{index.name}/")]
        if ids:
            mask |= np.isin(rows, index.rows_with("id", ids))
        return mask


def _comparable(hashes: NDArray[np.void]) -> NDArray[np.bytes_]:
    """Hashes as numbers that numpy can sort: void values it cannot; a byte behind each keeps trailing zeros."""
    marked = np.full((len(hashes), 33), 1, np.uint8)
    marked[:, :32] = np.frombuffer(hashes.tobytes(), np.uint8).reshape(-1, 32)
    return marked.view("S33").reshape(-1)
