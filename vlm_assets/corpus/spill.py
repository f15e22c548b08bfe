"""Small rows sorted before they are gathered, in the order in which windows want them.

A window takes blocks of rows from every slice, and a block's values lie in some thirty places, a few hundred bytes
each. Out of slices that are larger than the page cache, each is a read of the disk: 16 KB a read were seen, at
75 MB/s on a disk that reads 1 GB/s in order. So every slice is read once, in order, and those rows are put side by
side that the same few windows want. Images stay where they are if those of a block make a large read.

    .staging/<…>/spill-<hash>/<slice>-<first row>.arrow   selected rows of a part of a slice, a batch a partition
    .staging/<…>/spill-<hash>/complete                    all of them are there

A partition is a few windows of one shard; its rows stand by (slice, row). Nothing here is synced or hashed: the
folder's name holds what the shards to be written are, and the boot of the machine, so that what a power cut may have
torn is never read.
"""

import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.corpus.arrays import array_of, canonical, values_of
from vlm_assets.corpus.byte_pieces import Pieces
from vlm_assets.corpus.mapped import MappedFile, SliceFiles
from vlm_assets.corpus.memory import keep_freed_memory, take
from vlm_assets.corpus.slice_rows import RowColumns, SliceRows, WindowRows
from vlm_assets.corpus.work import CHECKED, COPIED, INDEX_ONLY, ShardPlan, Staging, WorkPlan
from vlm_assets.errors import CorpusError
from vlm_assets.schema import INDEX_SCHEMA, SAMPLE_SCHEMA
from vlm_assets.store.arrow_files import map_ipc_file

_SMALL_ROW_BYTES: Final = 8_192
_FROM_BYTES: Final = 4 * 2**30
"""Of the slices' files: less stays in the page cache anyway."""
_SMALL_IMAGE_BYTES: Final = 4_096
"""Of a row. Below this mean, images are sorted too: a block's 64 in one read are too few (reads of 32 KB in any order
reached 0.4 GB/s beside the writing; in order, 0.9)."""
_PARTITION_BYTES: Final = 128 * 2**20
"""Planned bytes of the windows of a partition: at least what of it is in memory."""
_PART_BYTES: Final = 128 * 2**20
"""Bytes of a slice's data, images included, of which the selected rows are sorted at once."""
_RUN_PARTS: Final = 8
"""Parts that a worker is handed at a time."""
_PARTS_AHEAD: Final = 1
_WRITE_BYTES: Final = 4 * 2**20
"""In small pieces, writing costs up to four times as much (ext4, Linux 6.18)."""
_AHEAD_SHARE: Final = 4
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


@dataclass(frozen=True, slots=True)
class _Part:
    """The selected rows of a run of rows of one slice."""

    number: int
    files: SliceFiles
    first_file: int
    first_row: int
    rows: U32
    """In the order of partitions, ascending in each."""
    ends: tuple[int, ...]
    """Where each partition's rows end."""
    with_images: bool

    @property
    def name(self) -> str:
        return _part_name(self.number, self.first_row)

    @property
    def slices(self) -> U32:
        """Number of the slice, for each row."""
        return np.full(len(self.rows), self.number, np.uint32)


def spill_name(shards: Sequence[ShardPlan]) -> str:
    """Folder for the rows of these shards: of what is wanted, in which order, on this boot of the machine."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    wanted = "\n".join(f"{shard.bits} {shard.inputs_digest}" for shard in shards)
    return "spill-" + sha256(f"{boot}\n{wanted}".encode()).hexdigest()[:12]


def worth_spilling(slices: Mapping[int, SliceFiles], rows: int, planned_bytes: int) -> bool:
    """Whether so many rows of so many bytes are small, and the slices larger than what stays in the page cache."""
    if not rows or planned_bytes >= _SMALL_ROW_BYTES * rows:
        return False
    return sum(_data_bytes(one) for one in slices.values()) >= _FROM_BYTES


@contextmanager
def reading_ahead(slices: Iterable[SliceFiles]) -> Iterator[None]:
    """In the block the kernel reads these slices into the page cache, in order, as far as memory allows."""
    done = Event()
    room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _AHEAD_SHARE
    paths = [one.directory / name for one in slices for name in one.data_files]

    def read() -> None:
        left, block = room, bytearray(_WRITE_BYTES)
        for path in paths:
            with path.open("rb", buffering=0) as file:
                while left > 0 and not done.is_set() and (size := file.readinto(block)):
                    left -= size

    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(read)
        try:
            yield
        finally:
            done.set()
        reading.result()


def spill(staging: Staging, executor: Executor | None = None) -> None:
    """Sorts the rows of all shards still to be written, where the plan says so; what is sorted already stays.

    In processes of `executor`, or in this one.

    Raises:
        CorpusError: a slice is damaged.
        OSError: the disk is full.
    """
    plan = staging.read_plan()
    for old in staging.path.glob("spill-*"):
        if old.name != plan.spill:
            shutil.rmtree(old)
    folder = staging.path / plan.spill
    if not plan.spill or (folder / _COMPLETE).exists():
        return
    folder.mkdir(exist_ok=True)
    todo = [part for part in _parts(staging, plan) if not (folder / part.name).exists()]
    runs = [todo[start : start + _RUN_PARTS] for start in range(0, len(todo), _RUN_PARTS)]
    if executor is None:
        for run in runs:
            _sort_run(folder, run)
    else:
        for future in [executor.submit(_sort_run, folder, run) for run in runs]:
            future.result()
    (folder / _COMPLETE).touch()


def slice_files(plan: WorkPlan, number: int) -> SliceFiles:
    """Where the rows of a slice lie."""
    one = plan.slices[number]
    return SliceFiles(one.source, one.slice, Path(one.directory), one.data_files, one.rows)


def used_slices(plan: WorkPlan) -> dict[int, SliceFiles]:
    """The slices with selected rows."""
    return {number: slice_files(plan, number) for number, one in enumerate(plan.slices) if one.directory}


class SpilledRows:
    """The sorted rows of all shards of a plan."""

    def __init__(self, staging: Staging, plan: WorkPlan) -> None:
        folder = staging.path / plan.spill
        self._windows_each = _windows_each(plan)
        self._first_partition = _first_partitions(staging, plan)
        paths = sorted(folder.glob("*.arrow"), key=_slice_and_row)
        self._files = [MappedFile(path) for path in paths]
        self._readers = [pa.ipc.open_file(pa.BufferReader(file.buffer)) for file in self._files]

    @classmethod
    def of(cls, staging: Staging, plan: WorkPlan) -> "SpilledRows | None":
        """None where rows are not sorted, or not all."""
        complete = bool(plan.spill) and (staging.path / plan.spill / _COMPLETE).exists()
        return cls(staging, plan) if complete else None

    def windows(self, bits: str, windows: Sequence[WindowRows]) -> Iterator[tuple[WindowRows, RowColumns]]:
        """The rows of each window of a shard in written order.

        Raises:
            CorpusError: they are not those that were sorted.
        """
        for number, start in enumerate(range(0, len(windows), self._windows_each)):
            part = windows[start : start + self._windows_each]
            keys = np.concatenate([(one.slice.astype(np.int64) << 32) + one.row for one in part])
            table = self._partition(self._first_partition[bits] + number)
            if table.num_rows != len(keys):
                raise CorpusError(f"shard r{bits}: its sorted rows are damaged; plan the shards again")
            rank = np.empty(len(keys), np.int64)
            rank[np.argsort(keys)] = np.arange(len(keys))
            done = 0
            for window in part:
                yield window, _picked(table, rank[done : done + len(window.row)][window.place])
                done += len(window.row)

    def _partition(self, number: int) -> pa.RecordBatch:
        """All rows of a partition; the pages of the files are handed back."""
        batches = [reader.get_batch(number) for reader in self._readers]
        table = pa.concat_batches(batches, memory_pool=pa.system_memory_pool())
        for file in self._files:
            file.release_pages()
        return table


def _picked(table: pa.RecordBatch, places: NDArray[np.int64]) -> RowColumns:
    taken = array_of(places, pa.int64())
    columns = {
        name: canonical(take(column, taken))
        for name, column in zip(table.schema.names, table.columns, strict=True)
    }
    if "image" in columns:
        return RowColumns(columns, columns.pop("image"))
    file, at = (values_of(columns.pop(name)) for name in ("image_file", "image_at"))
    return RowColumns(columns, Pieces(file, at, values_of(columns["size_bytes"])))


def _windows_each(plan: WorkPlan) -> int:
    """Windows of a partition."""
    return max(_PARTITION_BYTES // plan.shard.window_bytes, 1)


def _first_partitions(staging: Staging, plan: WorkPlan) -> dict[str, int]:
    """Number of the first partition of each shard that is laid out."""
    first, found = 0, {}
    for shard in plan.shards:
        if staging.work(shard.bits).is_file():
            found[shard.bits] = first
            first += -(-shard.windows // _windows_each(plan))
    return found


def _parts(staging: Staging, plan: WorkPlan) -> Iterator[_Part]:
    """Every part of a slice with selected rows, in order."""
    partitions = [_sorted_keys(windows) for windows in _partitions(staging, plan)]
    pending = [plan.find(bits) for bits in _first_partitions(staging, plan)]
    with_images = sum(one.planned_bytes for one in pending) < _SMALL_IMAGE_BYTES * sum(
        one.rows for one in pending
    )
    first_file = 0
    for number, files in used_slices(plan).items():
        step = max(_PART_BYTES * files.rows // max(_data_bytes(files), 1), 1)
        for first_row in range(0, files.rows, step):
            begin, end = (number << 32) + first_row, (number << 32) + min(first_row + step, files.rows)
            found = [keys[slice(*np.searchsorted(keys, (begin, end)))] for keys in partitions]
            ends = np.cumsum([len(keys) for keys in found])
            if ends[-1]:
                wanted = (np.concatenate(found) & 0xFFFF_FFFF).astype(np.uint32)
                yield _Part(number, files, first_file, first_row, wanted, tuple(ends.tolist()), with_images)
        first_file += len(files.data_files)


def _partitions(staging: Staging, plan: WorkPlan) -> Iterator[list[pa.RecordBatch]]:
    """The windows of each partition."""
    for bits in _first_partitions(staging, plan):
        work, each = map_ipc_file(staging.work(bits)), _windows_each(plan)
        for start in range(0, work.num_record_batches, each):
            yield [work.get_batch(n) for n in range(start, min(start + each, work.num_record_batches))]


def _sorted_keys(windows: Iterable[pa.RecordBatch]) -> NDArray[np.int64]:
    """(slice, row) of all rows as one number, ascending."""
    keys = [
        (values_of(one.column("slice")).astype(np.int64) << 32) + values_of(one.column("row"))
        for one in windows
    ]
    return np.sort(np.concatenate(keys))


def _sort_run(folder: Path, parts: Sequence[_Part]) -> None:
    """Sorts some parts; while one is sorted, the next ones are opened and read ahead."""
    keep_freed_memory()
    waiting = deque[tuple[_Part, Future[SliceRows]]]()
    with ThreadPoolExecutor(1) as ahead:
        for part in parts:
            waiting.append((part, ahead.submit(_opened, part)))
            if len(waiting) > _PARTS_AHEAD:
                sortable, opened = waiting.popleft()
                _sort_part(folder, sortable, opened.result())
        for sortable, opened in waiting:
            _sort_part(folder, sortable, opened.result())


def _opened(part: _Part) -> SliceRows:
    rows = SliceRows({part.number: part.files})
    if part.with_images:
        rows.load(part.slices, part.rows)
    else:
        rows.read_ahead(part.slices, part.rows)
    return rows


def _sort_part(folder: Path, part: _Part, opened: SliceRows) -> None:
    """Writes the file of one part; complete once it has its name."""
    rows = opened.read(part.slices, part.rows, gap_rows=_WHOLE_BATCHES)
    table = _table(part, opened, rows)
    temporary = folder / f".{part.name}.tmp"
    sink = pa.output_stream(str(temporary), compression=None, buffer_size=_WRITE_BYTES)
    with sink, pa.ipc.new_file(sink, table.schema) as writer:
        begin = 0
        for end in part.ends:
            writer.write_batch(table.slice(begin, end - begin))
            begin = end
    temporary.rename(folder / part.name)


def _table(part: _Part, opened: SliceRows, rows: RowColumns) -> pa.RecordBatch:
    columns, images = dict(rows.columns), rows.images
    if part.with_images:
        columns["image"] = opened.loaded(images)
    else:
        columns["image_file"] = array_of(images.file + part.first_file, pa.int64())
        columns["image_at"] = array_of(images.offset, pa.int64())
    schema = _WITH_IMAGES if part.with_images else _WITH_PLACES
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _part_name(number: int, first_row: int) -> str:
    return f"{number}-{first_row}.arrow"


def _slice_and_row(path: Path) -> tuple[int, int]:
    number, row = path.stem.split("-")
    return int(number), int(row)


def _data_bytes(files: SliceFiles) -> int:
    return sum((files.directory / name).stat().st_size for name in files.data_files)
