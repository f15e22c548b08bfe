"""Small rows sorted before they are gathered: each slice's selected rows, in the order in which the shards want them.

A window takes rows from every slice, a few hundred bytes here and there. Out of slices that are larger than the page
cache, each piece is a read of the disk: 16 KB a read were seen, at 75 MB/s on a disk that reads 1 GB/s in order. So
every slice is read once, in order, and what a window wants of it is put side by side: two thirds more bytes are
moved, nearly all of them in order. Large rows are gathered from the slices themselves.

    .staging/<…>/spill-<hash>/<number of the slice>/{data.arrow, index.arrow}

Nothing here is synced or hashed: the folder's name holds what the shards to be written are, and the boot of the
machine, so that what a power cut may have torn is never read.
"""

import multiprocessing
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.corpus.arrays import array_of, canonical, image_array, values_of
from vlm_assets.corpus.mapped import SliceFiles, by_slice
from vlm_assets.corpus.memory import keep_freed_memory, take
from vlm_assets.corpus.row_files import RowFiles, ascending
from vlm_assets.corpus.work import CHECKED, COPIED, INDEX_ONLY, ShardPlan, Staging, WorkPlan
from vlm_assets.schema import INDEX_SCHEMA, SAMPLE_SCHEMA
from vlm_assets.store.arrow_files import map_ipc_file
from vlm_assets.store.slices import INDEX_FILE

_SMALL_ROW_BYTES: Final = 8_192
_FROM_BYTES: Final = 4 * 2**30
"""Of the slices' files: less stays in the page cache anyway."""
_CHUNK_BYTES: Final = 128 * 2**20
"""Of selected rows in memory at once; rows of a larger slice are picked in several passes."""
_BATCH_BYTES: Final = 2**20
_READ_BYTES: Final = 4 * 2**20
DATA_FILE: Final = "data.arrow"

U32 = NDArray[np.uint32]


class SpillOrder:
    """Numbers the rows that work files name: n-th row of its slice in the order of shards and windows."""

    def __init__(self, slices: int) -> None:
        self._next = np.zeros(slices, np.uint32)

    def numbers(self, slices: U32) -> U32:
        """Of the rows of the next window, given by their slices."""
        out = np.empty(len(slices), np.uint32)
        for number, here in by_slice(slices):
            first = int(self._next[number])
            out[here] = np.arange(first, first + len(here))
            self._next[number] += len(here)
        return out

    def totals(self) -> tuple[int, ...]:
        """Rows of each slice."""
        return tuple(self._next.tolist())


def spill_name(shards: Sequence[ShardPlan]) -> str:
    """Folder for the rows of these shards: of what is wanted, in which order, on this boot of the machine."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    wanted = "\n".join(f"{shard.bits} {shard.inputs_digest}" for shard in shards)
    return "spill-" + sha256(f"{boot}\n{wanted}".encode()).hexdigest()[:12]


def worth_spilling(slices: Mapping[int, SliceFiles], shards: Sequence[ShardPlan]) -> bool:
    """Whether rows are small, and the slices larger than what stays in the page cache."""
    rows = sum(shard.rows for shard in shards)
    if not rows or sum(shard.planned_bytes for shard in shards) >= _SMALL_ROW_BYTES * rows:
        return False
    files = (one.directory / name for one in slices.values() for name in one.data_files)
    return sum(path.stat().st_size for path in files) >= _FROM_BYTES


def spill(staging: Staging, workers: int = 1) -> None:
    """Sorts the rows of all shards still to be written, where the plan says so; what is sorted already stays.

    Raises:
        CorpusError: a slice is damaged.
        OSError: the disk is full.
    """
    plan = staging.read_plan()
    for old in staging.path.glob("spill-*"):
        if old.name != plan.spill:
            shutil.rmtree(old)
    if not plan.spill:
        return
    folder = staging.path / plan.spill
    folder.mkdir(exist_ok=True)
    todo = [task for task in _tasks(staging, plan) if not (folder / str(task[0])).is_dir()]
    if workers < 2 or len(todo) < 2:
        for number, rows in todo:
            _spill_slice(folder, number, slice_files(plan, number), rows)
        return
    context = multiprocessing.get_context("spawn")  # Arrow's threads do not survive a fork
    with ProcessPoolExecutor(min(workers, len(todo)), mp_context=context) as pool:
        for future in [
            pool.submit(_spill_slice, folder, number, slice_files(plan, number), rows)
            for number, rows in todo
        ]:
            future.result()


def slice_files(plan: WorkPlan, number: int) -> SliceFiles:
    """Where the rows of a slice lie."""
    one = plan.slices[number]
    return SliceFiles(one.source, one.slice, Path(one.directory), one.data_files, one.rows)


def spilled_files(staging: Staging, plan: WorkPlan) -> dict[int, SliceFiles] | None:
    """The sorted rows as if they were slices; None where they are not all there."""
    folder = staging.path / plan.spill
    if not plan.spill or not folder.is_dir():
        return None
    found = {}
    for number, rows in enumerate(plan.spilled_rows):
        if rows:
            place = folder / str(number)
            if not place.is_dir():
                return None
            one = plan.slices[number]
            found[number] = SliceFiles(one.source, one.slice, place, (DATA_FILE,), rows)
    return found


def _tasks(staging: Staging, plan: WorkPlan) -> Iterator[tuple[int, U32]]:
    """(slice, its rows in the order wanted) of every slice that a work file names."""
    wanted = [np.empty(rows, np.uint32) for rows in plan.spilled_rows]
    for shard in plan.shards:
        if staging.work(shard.bits).is_file():
            work = map_ipc_file(staging.work(shard.bits))
            for number in range(work.num_record_batches):
                batch = work.get_batch(number)
                slices, rows, places = (values_of(batch.column(name)) for name in ("slice", "row", "spill"))
                for one, here in by_slice(slices):
                    wanted[one][places[here]] = rows[here]
    return ((number, rows) for number, rows in enumerate(wanted) if len(rows))


def _spill_slice(folder: Path, number: int, files: SliceFiles, rows: U32) -> None:
    """Writes one slice's rows in the order wanted; complete once its folder has its name."""
    keep_freed_memory()
    temporary, final = folder / f".{number}.tmp", folder / str(number)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for schema, paths, name, columns in (
        (SAMPLE_SCHEMA, [files.directory / one for one in files.data_files], DATA_FILE, (*COPIED, "image")),
        (INDEX_SCHEMA, [files.directory / INDEX_FILE], INDEX_FILE, INDEX_ONLY),
    ):
        size = sum(path.stat().st_size for path in paths)
        for path in paths:
            _read_once(path)
        row_bytes = max(size // max(files.rows, 1), 1)
        chunk, batch = max(_CHUNK_BYTES // row_bytes, 1), max(_BATCH_BYTES // row_bytes, 1)
        held = RowFiles(schema, paths)
        with pa.OSFile(str(temporary / name), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for start in range(0, len(rows), chunk):
                part = _picked(held, schema, rows[start : start + chunk], (*columns, *CHECKED))
                for begin in range(0, part.num_rows, batch):
                    writer.write_batch(part.slice(begin, batch))
    temporary.rename(final)


def _read_once(path: Path) -> None:
    """Brings a file into the page cache in order; the columns of its batches are wanted one after the other."""
    block = bytearray(_READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(block):
            pass


def _picked(held: RowFiles, schema: pa.Schema, rows: U32, names: Sequence[str]) -> pa.RecordBatch:
    """Rows in the given order, whatever lies between them; columns that no writer reads are nulls."""
    positions, rank = ascending(rows.astype(np.int64))
    stretches, local = held.stretches(positions, gap_rows=int(positions[-1]))
    taken = array_of(local[rank], pa.int64())
    columns = []
    for field in schema:
        if field.name not in names:
            columns.append(pa.nulls(len(rows), field.type))
            continue
        column = canonical(take(held.read(field.name, stretches), taken))
        if pa.types.is_struct(field.type):
            column = image_array(column) if not column.null_count else _with_nulls(column, field.type)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _with_nulls(encoded: pa.Array, kind: pa.DataType) -> pa.Array:
    """The image struct over bytes of which some were taken down; the gatherer says which."""
    paths = pa.nulls(len(encoded), kind.field(1).type)
    return pa.StructArray.from_arrays([encoded, paths], fields=[kind.field(0), kind.field(1)])
