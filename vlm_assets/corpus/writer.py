"""One shard, from its planned windows to two synced files and a sidecar that says so.

Works window by window; memory is bounded by a few windows. A shard that is complete already is not touched.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Final

import numpy as np

from vlm_assets.corpus.gather import Gatherer
from vlm_assets.corpus.ranges import RangedObjects
from vlm_assets.corpus.slice_rows import WindowRows
from vlm_assets.corpus.staging import CorpusPlan, FileProof, ShardPlan, ShardResult, Staging
from vlm_assets.locks import hold_lock
from vlm_assets.store.arrow_files import ArrowFile, sync_directory
from vlm_assets.store.away import came_back
from vlm_assets.store.sound_files import IndexFile
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import CorpusError, DiskFullError, LockHeldError, StoreError
from vlm_assets.words.manifest import FileEntry
from vlm_assets.words.schema import INDEX_SCHEMA, SAMPLE_SCHEMA

RESERVE_BYTES: Final = 2**30
"""Left free on the volume: logs, event storage and manifests still need room when a build stops."""
_TURN_S: Final = 0.5
"""Waiting for whoever writes the shard, between two looks at whether the build was stopped."""
_DIRECT_BYTES: Final = 64 * 2**20
"""From this size on a file is written past the page cache; what is smaller is soon read again."""


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """How far a shard is, after a window."""

    bits: str
    rows: int
    size_bytes: int


OnWindow = Callable[[ShardProgress], None]


class ShardWriter:
    """Writes shards of one staging folder out of slices that stay open. For several threads at once."""

    def __init__(
        self,
        staging: Staging,
        plan: CorpusPlan,
        reserve_bytes: int = RESERVE_BYTES,
        on_window: OnWindow | None = None,
        objects: RangedObjects | None = None,
    ) -> None:
        """Opens the slices; `objects` has the data files that do not lie here.

        Raises:
            CorpusError: see `RowPlaces`.
        """
        self._staging = staging
        self._reserve_bytes = reserve_bytes
        self._on_window = on_window
        self._stopped = Event()
        used = {number: one.files for number, one in enumerate(plan.slices) if one.directory}
        self._gatherer = Gatherer(used, plan.slices, plan.cells, objects)

    def stop(self) -> None:
        """Whoever writes a shard now, or waits to, raises: CorpusError at the end of the window, or LockHeldError."""
        self._stopped.set()

    def write(self, shard: ShardPlan) -> ShardResult:
        """Makes the shard's files complete in the staging folder; does nothing where they are.

        Safe to run twice at once (the second waits for the first) and after a kill at any point.

        Raises:
            CorpusError: index and data of a slice disagree, or a file is larger than planned.
            DiskFullError: not enough room; what is complete stays.
            LockHeldError: stopped while another process writes the shard.
        """
        staging, name = self._staging, f"shard r{shard.bits}"
        with self._lock(staging.lock(shard.bits), f"writing {name}"):
            result = staging.result(shard)
            if result is None:
                check_space(staging.files, shard.planned_bytes + shard.index_bytes, self._reserve_bytes, name)
                result = self._write(shard)
                staging.write_result(result)
        return result

    @contextmanager
    def _lock(self, path: Path, purpose: str) -> Iterator[None]:
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(hold_lock(path, purpose, wait_s=_TURN_S))
                    break
                except LockHeldError:
                    if self._stopped.is_set():
                        raise
            yield

    def _write(self, shard: ShardPlan) -> ShardResult:
        data, index = self._staging.data(shard.bits), self._staging.index(shard.bits)
        temporary = [path.with_name(f".{path.name}.tmp") for path in (data, index)]
        for path in (*temporary, data, index):
            path.unlink(missing_ok=True)
        if not self._staging.windows(shard.bits).is_file():
            raise CorpusError(
                f"shard r{shard.bits} was complete when it was planned and is not now; plan the shards again"
            )
        entries = self._write_files(shard, *temporary)
        if entries[0].size_bytes > shard.planned_bytes:
            raise CorpusError(
                f"shard r{shard.bits}: {entries[0].size_bytes} bytes, planned at most {shard.planned_bytes}. "
                "A slice's row_bytes are wrong; fetch its slices again."
            )
        for path, final in zip(temporary, (data, index), strict=True):
            path.replace(final)
        came_back((data, index))
        sync_directory(self._staging.files)
        return ShardResult(
            bits=shard.bits,
            inputs_digest=shard.inputs_digest,
            data=FileProof.of(data, entries[0]),
            index=FileProof.of(index, entries[1]),
            how="written",
        )

    def _write_files(
        self, shard: ShardPlan, data_path: Path, index_path: Path
    ) -> tuple[FileEntry, FileEntry]:
        windows = read_windows(self._staging.windows(shard.bits), shard.bits)
        with ExitStack() as stack:
            direct = shard.planned_bytes >= _DIRECT_BYTES
            data = stack.enter_context(ArrowFile(data_path, SAMPLE_SCHEMA, direct=direct))
            direct = shard.index_bytes >= _DIRECT_BYTES
            index = stack.enter_context(ArrowFile(index_path, INDEX_SCHEMA, form="file", direct=direct))
            for window in self._gatherer.windows(windows):
                data.write(window.data, window.images)
                index.write(window.index)
                self._window_done(ShardProgress(shard.bits, data.rows, data.size_bytes + index.size_bytes))
            if not data.rows == index.rows == shard.rows:
                raise CorpusError(f"shard r{shard.bits}: {so_many(data.rows, 'row')}, planned {shard.rows}")
            return data.finish(), index.finish()

    def _window_done(self, done: ShardProgress) -> None:
        """Tells, and makes sure that there still is room, and a wish, for another window."""
        if self._stopped.is_set():
            raise CorpusError(f"shard r{done.bits}: the build was stopped")
        check_space(self._staging.files, 0, self._reserve_bytes, f"shard r{done.bits}")
        if self._on_window is not None:
            self._on_window(done)


def read_windows(path: Path, bits: str) -> list[WindowRows]:
    """The windows of a shard, over a memory map.

    Raises:
        CorpusError: the file is damaged, which must not become a wrong shard.
    """
    damaged = CorpusError(f"shard r{bits}: {path} is damaged; plan the shards again")
    try:
        reader = IndexFile(path)
        windows = [WindowRows.of(reader.get_batch(number)) for number in range(reader.num_record_batches)]
    except StoreError as error:
        raise damaged from error
    for window in windows:
        if not (np.bincount(window.place, minlength=len(window.row)) == 1).all():
            raise damaged
    return windows


def check_space(path: Path, needed_bytes: int, reserve_bytes: int, purpose: str) -> None:
    """Returns where `needed_bytes` fit beside the reserve.

    Raises:
        DiskFullError: they do not; names what is needed, free and kept.
    """
    stat = os.statvfs(path)
    free_bytes = stat.f_bavail * stat.f_frsize
    if free_bytes < needed_bytes + reserve_bytes:
        raise DiskFullError(
            f"{path}: {purpose} needs {needed_bytes:,} bytes beside a reserve of {reserve_bytes:,}; "
            f"{free_bytes:,} are free. Free {needed_bytes + reserve_bytes - free_bytes:,} bytes and run it again; "
            "what is done is kept."
        )
