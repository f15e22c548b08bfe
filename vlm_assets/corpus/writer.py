"""One shard, from its work file to two synced files and a sidecar that says so.

Works window by window; memory is bounded by a few windows. A shard that is complete already is not touched.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from vlm_assets.corpus.gather import Gatherer, Window
from vlm_assets.corpus.mapped import SliceFiles
from vlm_assets.corpus.slice_rows import WindowRows
from vlm_assets.corpus.space import RESERVE_BYTES, check_space
from vlm_assets.corpus.work import FileProof, ShardPlan, ShardResult, Staging, WorkPlan
from vlm_assets.store.arrow_files import ArrowFile, map_ipc_file, sync_directory
from vlm_assets.store.locks import hold_lock
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.manifest import FileEntry
from vlm_assets.words.schema import INDEX_SCHEMA, SAMPLE_SCHEMA

_LOCK_WAIT_S = 24 * 3600.0
_DIRECT_BYTES = 64 * 2**20
"""From this size on a file is written past the page cache; what is smaller is soon read again."""


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """How far a shard is, after a window."""

    bits: str
    rows: int
    size_bytes: int


OnWindow = Callable[[ShardProgress], None]


def write_shard(
    staging_path: Path,
    bits: str,
    *,
    reserve_bytes: int = RESERVE_BYTES,
    on_window: OnWindow | None = None,
    keep_open: "OpenSlices | None" = None,
) -> ShardResult:
    """Makes the shard's files complete in the staging folder; does nothing where they are.

    Safe to run twice at once (the second waits for the first) and after a kill at any point. `keep_open` lets
    shards written one after another by one process share their open slices.

    Raises:
        CorpusError: index and data of a slice disagree, or a file is larger than planned.
        DiskFullError: not enough room; what is complete stays.
    """
    staging = Staging(staging_path)
    plan = staging.read_plan()
    shard = plan.find(bits)
    slices = keep_open or OpenSlices()
    with hold_lock(staging.lock(bits), f"writing shard r{bits}", wait_s=_LOCK_WAIT_S):
        result = staging.result(shard)
        if result is None:
            check_space(
                staging.files, shard.planned_bytes + shard.index_bytes, reserve_bytes, f"shard r{bits}"
            )
            result = _write(staging, plan, shard, slices, _Watch(staging, reserve_bytes, on_window))
            staging.write_result(result)
    return result


class OpenSlices:
    """What a worker keeps from shard to shard: the open slices of its last plan."""

    def __init__(self) -> None:
        self._of: Path | None = None
        self._gatherer: Gatherer

    def windows(self, staging: Staging, plan: WorkPlan, windows: Sequence[WindowRows]) -> Iterator[Window]:
        """Each window of a shard; see `Gatherer.windows`."""
        if not windows:
            return iter(())
        if self._of != staging.path:
            self._gatherer = Gatherer(_used(plan), plan.slices, plan.cells)
            self._of = staging.path
        return self._gatherer.windows(windows)


def _used(plan: WorkPlan) -> dict[int, SliceFiles]:
    """The slices with selected rows, by their number in the plan."""
    return {
        number: SliceFiles(one.source, one.slice, Path(one.directory), one.data_files, one.rows)
        for number, one in enumerate(plan.slices)
        if one.directory
    }


@dataclass(frozen=True, slots=True)
class _Watch:
    """What happens between windows."""

    staging: Staging
    reserve_bytes: int
    on_window: OnWindow | None

    def window_done(self, bits: str, rows: int, size_bytes: int) -> None:
        """Tells, and makes sure that there still is room for another window."""
        check_space(self.staging.files, 0, self.reserve_bytes, f"shard r{bits}")
        if self.on_window is not None:
            self.on_window(ShardProgress(bits, rows, size_bytes))


def _write(
    staging: Staging, plan: WorkPlan, shard: ShardPlan, slices: OpenSlices, watch: _Watch
) -> ShardResult:
    data, index = staging.data(shard.bits), staging.index(shard.bits)
    temporary = [path.with_name(f".{path.name}.tmp") for path in (data, index)]
    for path in (*temporary, data, index):
        path.unlink(missing_ok=True)
    if not staging.work(shard.bits).is_file():
        raise CorpusError(
            f"shard r{shard.bits} was complete when it was planned and is not now; plan the shards again"
        )
    entries = _write_files(staging, plan, shard, slices, watch, *temporary)
    if entries[0].size_bytes > shard.planned_bytes:
        raise CorpusError(
            f"shard r{shard.bits}: {entries[0].size_bytes} bytes, planned at most {shard.planned_bytes}. "
            "A slice's row_bytes are wrong; fetch its slices again."
        )
    for path, final in zip(temporary, (data, index), strict=True):
        path.replace(final)
    sync_directory(staging.files)
    return ShardResult(
        bits=shard.bits,
        inputs_digest=shard.inputs_digest,
        data=FileProof.of(data, entries[0]),
        index=FileProof.of(index, entries[1]),
        how="written",
    )


def _write_files(
    staging: Staging,
    plan: WorkPlan,
    shard: ShardPlan,
    slices: OpenSlices,
    watch: _Watch,
    data_path: Path,
    index_path: Path,
) -> tuple[FileEntry, FileEntry]:
    windows = _windows(map_ipc_file(staging.work(shard.bits)), shard.bits)
    with ExitStack() as stack:
        direct = shard.planned_bytes >= _DIRECT_BYTES
        data = stack.enter_context(ArrowFile(data_path, SAMPLE_SCHEMA, direct=direct))
        direct = shard.index_bytes >= _DIRECT_BYTES
        index = stack.enter_context(ArrowFile(index_path, INDEX_SCHEMA, form="file", direct=direct))
        for window in slices.windows(staging, plan, windows):
            data.write(window.data)
            index.write(window.index)
            watch.window_done(shard.bits, data.rows, data.size_bytes + index.size_bytes)
        if not data.rows == index.rows == shard.rows:
            raise CorpusError(f"shard r{shard.bits}: {data.rows} rows, planned {shard.rows}")
        return data.finish(), index.finish()


def _windows(work: pa.RecordBatchFileReader, bits: str) -> list[WindowRows]:
    """Windows of a work file, over its memory map. A damaged one must not become a wrong shard."""
    windows = [WindowRows.of(work.get_batch(number)) for number in range(work.num_record_batches)]
    for number, window in enumerate(windows):
        if not (np.bincount(window.place, minlength=len(window.row)) == 1).all():
            raise CorpusError(
                f"shard r{bits}, window {number}: the work file is damaged; plan the shards again"
            )
    return windows
