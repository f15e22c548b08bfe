"""Small rows sorted before they are gathered, in the order in which windows want them.

A window takes blocks of rows from every slice, and a block's values lie in some thirty places, a few hundred bytes
each. Out of slices that are larger than the page cache, each is a read of the disk: 16 KB a read were seen, at
75 MB/s on a disk that reads 1 GB/s in order. So every slice is read once, in order, and those rows are put side by
side that the same few windows want. Images stay where they are if those of a block make a large read.

    .staging/<…>/spill-<hash>/<shard>/<slice>-<first row>.arrow   rows of a part of a slice, a batch a partition
    .staging/<…>/spill-<hash>/<shard>/complete                    all of them are there

A partition is a few windows of one shard; its rows stand by (slice, row). Nothing here is synced or hashed: the name
of the outer folder holds the boot of the machine, so that what a power cut may have torn is never read, and where the
slices lie; that of the inner one holds what decides the shard's bytes. It goes when its shard is complete.
"""

import io
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.corpus.arrays import array_of, canonical, values_of
from vlm_assets.corpus.byte_pieces import ImageBytes, Pieces
from vlm_assets.corpus.direct_read import free_released_memory
from vlm_assets.corpus.mapped import MappedFile, SliceFiles
from vlm_assets.corpus.memory import keep_freed_memory, take
from vlm_assets.corpus.slice_rows import RowColumns, SliceRows, WindowRows
from vlm_assets.corpus.work import CHECKED, COPIED, INDEX_ONLY, ShardPlan, Staging, WorkPlan
from vlm_assets.store.ahead import ahead
from vlm_assets.store.arrow_files import map_ipc_file
from vlm_assets.words.errors import CorpusError, write_error
from vlm_assets.words.schema import INDEX_SCHEMA, SAMPLE_SCHEMA

_SMALL_ROW_BYTES: Final = 8_192
_FROM_BYTES: Final = 4 * 2**30
"""Of the slices' files: less stays in the page cache anyway."""
_SMALL_IMAGE_BYTES: Final = 4_096
"""Of a row. Below this mean, images are sorted too: a block's 64 in one read are too few (reads of 32 KB in any order
reached 0.4 GB/s beside the writing; in order, 0.9)."""
_PARTITION_BYTES: Final = 64 * 2**20
"""Planned bytes of the windows of a partition: at least what of it is in memory."""
_PART_BYTES: Final = 128 * 2**20
"""Bytes of a slice's data, images included, of which the selected rows are sorted at once."""
_FEWEST_PARTS: Final = 4
"""That a worker is handed at a time."""
_PARTS_AHEAD: Final = 3
"""That a worker has in memory, or on their way, beside the one it sorts."""
_THREADS: Final = 2
_WRITE_BYTES: Final = 512 * 2**10
"""In smaller pieces, writing costs up to four times as much; in larger ones, the kernel maps megabytes around what is
read (ext4 with large folios, Linux 6.18)."""
_READ_BYTES: Final = 4 * 2**20
_AHEAD_SHARE: Final = 0.55
"""Of all memory, the part that slices may take in the page cache before anybody works on them."""
_COMPLETE: Final = "complete"
_WHOLE_BATCHES: Final = 2**31
"""Columns are read with all that lies between the selected rows: it comes from the disk with them."""

_FIELDS: Final = (
    *(SAMPLE_SCHEMA.field(name) for name in (*COPIED, *CHECKED)),
    *(INDEX_SCHEMA.field(name) for name in INDEX_ONLY),
)
_WITH_IMAGES: Final = pa.schema([*_FIELDS, pa.field("image", pa.binary(), nullable=False)])
_WITH_PLACES: Final = pa.schema(
    [
        *_FIELDS,
        pa.field("image_file", pa.int64(), nullable=False),  # number of the data file, all slices' in order
        pa.field("image_at", pa.int64(), nullable=False),  # place in it
    ]
)

U32 = NDArray[np.uint32]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _Share:
    """What one shard wants of a part."""

    path: Path
    rows: U32
    """In the order of partitions, ascending in each."""
    ends: tuple[int, ...]
    """Where each partition's rows end."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The selected rows of a run of rows of one slice."""

    number: int
    files: SliceFiles
    first_file: int
    shares: tuple[_Share, ...]
    with_images: bool

    @property
    def rows(self) -> U32:
        """All rows wanted, share by share."""
        return np.concatenate([share.rows for share in self.shares])

    def slices(self, rows: U32) -> U32:
        """Number of the slice, for each row."""
        return np.full(len(rows), self.number, np.uint32)


def spill_name(slices: Mapping[int, SliceFiles]) -> str:
    """Outer folder: of this boot of the machine, and of these versions of the slices, in which images have places."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    directories = "\n".join(str(one.directory) for _, one in sorted(slices.items()))
    return "spill-" + sha256(f"{boot}\n{directories}".encode()).hexdigest()[:12]


def spilled(staging: Staging, plan: WorkPlan, shard: ShardPlan) -> Path:
    """Folder of a shard's sorted rows."""
    return staging.path / plan.spill / f"r{shard.bits}-{shard.inputs_digest[:12]}"


def worth_spilling(slices: Mapping[int, SliceFiles], rows: int, planned_bytes: int) -> bool:
    """Whether so many rows of so many bytes are small, and the slices larger than what stays in the page cache."""
    if not rows or planned_bytes >= _SMALL_ROW_BYTES * rows:
        return False
    return sum(data_bytes(one) for one in slices.values()) >= _FROM_BYTES


@contextmanager
def reading_ahead(slices: Iterable[SliceFiles]) -> Iterator[None]:
    """In the block the kernel reads some of these slices into the page cache, as many as memory allows.

    However many it gets to, they stand evenly among the others: sorting these takes processors, sorting those the
    disk. What cannot be read is not told here; whoever sorts it will.
    """
    done = Event()
    room = int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * _AHEAD_SHARE)
    paths = [one.directory / name for one in _evenly(list(slices)) for name in one.data_files]

    def read() -> None:
        left = room
        with Path(os.devnull).open("wb", buffering=0) as nowhere:
            for path in paths:
                if left <= 0 or done.is_set():
                    return
                with suppress(OSError), path.open("rb", buffering=0) as file:
                    while left > 0 and not done.is_set() and (size := _send(file, nowhere)):
                        left -= size

    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(read)
        try:
            yield
        finally:
            done.set()
        reading.result()


def _send(file: io.FileIO, nowhere: io.FileIO) -> int:
    """Reads on without copying what is read; returns how many bytes."""
    return os.sendfile(nowhere.fileno(), file.fileno(), None, _READ_BYTES)


def _evenly(slices: Sequence[Item]) -> Iterator[Item]:
    """All of them, so that those of any beginning stand evenly among the rest: places with their bits reversed."""
    if len(slices) < 2:
        yield from slices
    else:
        yield from _evenly(slices[::2])
        yield from _evenly(slices[1::2])


def spill(staging: Staging, executor: Executor | None = None, workers: int = 1) -> None:
    """Sorts the rows of all shards still to be written, where the plan says so; what is sorted already stays.

    By the `workers` of `executor`, or here.

    Raises:
        CorpusError: a slice is damaged.
        DiskFullError: the volume is full.
        StoreError: a sorted row cannot be written for another reason.
    """
    plan = staging.read_plan()
    for old in staging.path.glob("spill-*"):
        if old.name != plan.spill:
            shutil.rmtree(old)
    if not plan.spill:
        return
    todo = _to_sort(staging, plan)
    for shard in todo:
        spilled(staging, plan, shard).mkdir(parents=True, exist_ok=True)
    sort = map if executor is None else executor.map
    for _ in sort(_sort_run, _runs(list(_parts(staging, plan, todo)), workers)):
        pass
    for shard in todo:
        (spilled(staging, plan, shard) / _COMPLETE).touch()


def _runs(parts: Sequence[Item], workers: int) -> Iterator[Sequence[Item]]:
    """What a worker is handed at a time: first many, for whoever begins waits for the disk; then ever fewer.

    Polychronopoulos and Kuck, Guided self-scheduling, 1987; halved, as parts differ.
    """
    while parts:
        size = max(len(parts) // (2 * workers), _FEWEST_PARTS)
        yield parts[:size]
        parts = parts[size:]


def slice_files(plan: WorkPlan, number: int) -> SliceFiles:
    """Where the rows of a slice lie."""
    one = plan.slices[number]
    return SliceFiles(one.source, one.slice, Path(one.directory), one.data_files, one.rows)


def used_slices(plan: WorkPlan) -> dict[int, SliceFiles]:
    """The slices with selected rows."""
    return {number: slice_files(plan, number) for number, one in enumerate(plan.slices) if one.directory}


class SpilledRows:
    """The sorted rows of one shard."""

    def __init__(self, folder: Path, windows_each: int) -> None:
        self._folder, self._windows_each = folder, windows_each
        self._files = [MappedFile(path) for path in sorted(folder.glob("*.arrow"), key=_slice_and_row)]
        self._readers = [pa.ipc.open_file(pa.BufferReader(file.buffer)) for file in self._files]

    @classmethod
    def of(cls, staging: Staging, plan: WorkPlan, shard: ShardPlan) -> "SpilledRows | None":
        """None where rows are not sorted, or not all."""
        folder = spilled(staging, plan, shard)
        complete = bool(plan.spill) and (folder / _COMPLETE).exists()
        return cls(folder, _windows_each(plan)) if complete else None

    def windows(self, windows: Sequence[WindowRows]) -> Iterator[tuple[WindowRows, RowColumns]]:
        """The rows of each window of the shard in written order.

        Raises:
            CorpusError: they are not those that were sorted.
        """
        for number, start in enumerate(range(0, len(windows), self._windows_each)):
            yield from self._partition(number, windows[start : start + self._windows_each])

    def _partition(
        self, number: int, windows: Sequence[WindowRows]
    ) -> Iterator[tuple[WindowRows, RowColumns]]:
        """Its rows are in memory only while this is iterated; the pages of the files are handed back at once."""
        keys = np.concatenate([_keys(one.slice, one.row) for one in windows])
        batches = [reader.get_batch(number) for reader in self._readers]
        table = pa.concat_batches(batches, memory_pool=pa.system_memory_pool())
        for file in self._files:
            file.release_pages()
        if table.num_rows != len(keys):
            raise CorpusError(f"{self._folder}: the sorted rows are damaged; remove the folder")
        rank = np.empty(len(keys), np.int64)
        rank[np.argsort(keys)] = np.arange(len(keys))
        done = 0
        for window in windows:
            yield window, _picked(table, rank[done : done + len(window.row)][window.place])
            done += len(window.row)


def _picked(table: pa.RecordBatch, places: NDArray[np.int64]) -> RowColumns:
    taken = array_of(places, pa.int64())
    columns = {
        name: canonical(take(column, taken))
        for name, column in zip(table.schema.names, table.columns, strict=True)
        if name != "image"
    }
    if "image" in table.schema.names:
        return RowColumns(
            columns, ImageBytes.taken(table.column("image"), places, values_of(columns["size_bytes"]))
        )
    file, at = (values_of(columns.pop(name)) for name in ("image_file", "image_at"))
    return RowColumns(columns, Pieces(file, at, values_of(columns["size_bytes"])))


def _windows_each(plan: WorkPlan) -> int:
    """Windows of a partition."""
    return max(_PARTITION_BYTES // plan.shard.window_bytes, 1)


def _to_sort(staging: Staging, plan: WorkPlan) -> list[ShardPlan]:
    """Shards that are laid out and neither written nor sorted."""
    return [
        shard
        for shard in plan.shards
        if staging.work(shard.bits).is_file()
        and staging.result(shard) is None
        and not (spilled(staging, plan, shard) / _COMPLETE).exists()
    ]


def _parts(staging: Staging, plan: WorkPlan, shards: Sequence[ShardPlan]) -> Iterator[_Part]:
    """Every part of a slice with rows that are not sorted, in order."""
    with ThreadPoolExecutor(_THREADS) as threads:
        keys_of = list(threads.map(lambda shard: list(_partition_keys(staging, plan, shard)), shards))
    wanted = [(spilled(staging, plan, shard), keys) for shard, keys in zip(shards, keys_of, strict=True)]
    rows = sum(shard.rows for shard in shards)
    with_images = sum(shard.planned_bytes for shard in shards) < _SMALL_IMAGE_BYTES * rows
    first_file = 0
    for number, files in used_slices(plan).items():
        step = max(_PART_BYTES * files.rows // max(data_bytes(files), 1), 1)
        for first_row in range(0, files.rows, step):
            low, high = (number << 32) + first_row, (number << 32) + min(first_row + step, files.rows)
            name = f"{number}-{first_row}.arrow"
            shares = tuple(_share(folder / name, keys, low, high) for folder, keys in wanted)
            shares = tuple(one for one in shares if len(one.rows) and not one.path.exists())
            if shares:
                yield _Part(number, files, first_file, shares, with_images)
        first_file += len(files.data_files)


def _share(path: Path, partitions: Sequence[NDArray[np.int64]], low: int, high: int) -> _Share:
    found = [keys[slice(*np.searchsorted(keys, (low, high)))] for keys in partitions]
    ends = np.cumsum([len(keys) for keys in found])
    return _Share(path, (np.concatenate(found) & 0xFFFF_FFFF).astype(np.uint32), tuple(ends.tolist()))


def _partition_keys(staging: Staging, plan: WorkPlan, shard: ShardPlan) -> Iterator[NDArray[np.int64]]:
    """(slice, row) of the rows of each partition as one number, ascending."""
    work, each = map_ipc_file(staging.work(shard.bits)), _windows_each(plan)
    for start in range(0, work.num_record_batches, each):
        windows = [work.get_batch(n) for n in range(start, min(start + each, work.num_record_batches))]
        keys = [_keys(values_of(one.column("slice")), values_of(one.column("row"))) for one in windows]
        yield np.sort(np.concatenate(keys))


def _keys(slices: U32, rows: U32) -> NDArray[np.int64]:
    return (slices.astype(np.int64) << 32) + rows


def _sort_run(parts: Sequence[_Part]) -> None:
    """Sorts some parts; while one is sorted, the next ones are opened and read ahead."""
    keep_freed_memory()
    try:
        for part, opened in zip(parts, ahead(_opened, parts, _PARTS_AHEAD), strict=True):
            _sort_part(part, opened)
    finally:
        free_released_memory()


def _opened(part: _Part) -> SliceRows:
    found, rows = SliceRows({part.number: part.files}), part.rows
    if part.with_images:
        found.load(part.slices(rows), rows)
    else:
        found.read_ahead(part.slices(rows), rows)
    return found


def _sort_part(part: _Part, opened: SliceRows) -> None:
    """Writes the files of one part; each is complete once it has its name."""
    table = _table(part, opened)
    opened.release()
    first = 0
    for share in part.shares:
        _write(share, table.slice(first, len(share.rows)))
        first += len(share.rows)


def _write(share: _Share, table: pa.RecordBatch) -> None:
    temporary = share.path.with_name(f".{share.path.name}.tmp")
    try:
        sink = pa.output_stream(str(temporary), compression=None, buffer_size=_WRITE_BYTES)
        with sink, pa.ipc.new_file(sink, table.schema) as writer:
            for begin, end in zip((0, *share.ends), share.ends, strict=False):
                writer.write_batch(table.slice(begin, end - begin))
    except OSError as error:
        raise write_error(temporary, error) from error
    temporary.rename(share.path)


def _table(part: _Part, opened: SliceRows) -> pa.RecordBatch:
    wanted = part.rows
    columns, images = opened.read(part.slices(wanted), wanted, gap_rows=_WHOLE_BATCHES)
    if part.with_images:
        columns["image"] = opened.loaded(images)
    else:
        columns["image_file"] = array_of(images.file + part.first_file, pa.int64())
        columns["image_at"] = array_of(images.offset, pa.int64())
    schema = _WITH_IMAGES if part.with_images else _WITH_PLACES
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _slice_and_row(path: Path) -> tuple[int, int]:
    number, row = path.stem.split("-")
    return int(number), int(row)


def data_bytes(files: SliceFiles) -> int:
    """Size of a slice's data files."""
    return sum((files.directory / name).stat().st_size for name in files.data_files)
