"""One file of an export, from a proven shard to synced bytes; by a thread of this process or by a process of its own.

Arrow writes Parquet without holding the interpreter, so threads do. A tar is put together row by row in Python: there
threads wait for each other, and processes pay once they have more to do than to start.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final, Self, cast

from vlm_assets.corpus.manifest import ShardEntry, data_name
from vlm_assets.exports.formats import Format
from vlm_assets.exports.parquet import write_parquet
from vlm_assets.exports.rows import Bool, check_hash, shard_batches
from vlm_assets.exports.webdataset import write_tar
from vlm_assets.store.arrow_files import HashingFile
from vlm_assets.words.errors import StoreError
from vlm_assets.words.manifest import FileEntry
from vlm_assets.workers.pool import WorkerPool
from vlm_assets.workers.program import CALLS, ONE_THREAD, Program

if TYPE_CHECKING:
    import pyarrow as pa

_DIRECT_BYTES: Final = 512 * 2**20
"""Of a shard, from which on its file goes past the page cache, where nobody reads it at once. Smaller ones are over
before the memory that this takes has paid."""
_ROWS_OF_A_PROCESS: Final = 50_000
"""A row of a tar takes Python some 30 µs; a process starts in half a second."""


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A file to be made of a shard."""

    version: Path
    """Of the corpus."""
    bits: str
    shard: ShardEntry
    mask: Bool | None
    """Of the rows that are wanted; None for all."""
    form: Format
    path: Path
    stays: bool
    """Whether the file stays there, and is not sent on."""


Writer = Callable[[ShardFile], tuple[int, FileEntry]]


def write_shard_file(task: ShardFile) -> tuple[int, FileEntry]:
    """A new file with the wanted rows of a shard, synced, or none: how many rows, size and hash.

    Raises:
        StoreError: the shard is not what the corpus says.
        DiskFullError: there is no room.
    """
    data = task.version / data_name(task.bits)
    check_hash(data, task.shard.data.blake3)
    batches = shard_batches(task.version, task.bits, task.shard, task.mask)
    direct = task.stays and task.shard.data.size_bytes >= _DIRECT_BYTES
    return write_file(task.path, batches, task.form, f"r{task.bits}-", direct=direct)


def write_file(
    path: Path, batches: "Iterator[pa.RecordBatch]", form: Format, prefix: str, *, direct: bool = False
) -> tuple[int, FileEntry]:
    """A new file with these rows, synced, or none: how many there are, size and hash.

    Raises:
        DiskFullError: there is no room.
    """
    path.unlink(missing_ok=True)
    file = HashingFile(path, direct=direct)
    try:
        sink = cast("BinaryIO", file)
        parquet = form is Format.PARQUET
        rows = write_parquet(batches, sink) if parquet else write_tar(batches, sink, prefix)
        file.close()
    except BaseException:
        file.abandon()
        raise
    if file.entry is None:
        raise StoreError(f"{path} was closed before it was written")
    return rows, file.entry


def writing_processes(form: Format, rows: Sequence[int], workers: int) -> "WritingProcesses | None":
    """Processes for files of so many rows each; None where threads of this one do it as fast."""
    count = min(workers, len(rows))
    if form is Format.PARQUET or count < 2 or sum(rows) < count * _ROWS_OF_A_PROCESS:
        return None
    return WritingProcesses(count)


class WritingProcesses:
    """Write files for threads of this process. None of them outlives the block, whatever it is at."""

    def __init__(self, count: int) -> None:
        program = Program("export", CALLS, (__name__,), environment={**os.environ, **ONE_THREAD})
        self._pool = WorkerPool(program, count, at_once=True)

    def write(self, task: ShardFile) -> tuple[int, FileEntry]:
        """As `write_shard_file`.

        Raises:
            As `write_shard_file`, and WorkerError: the process ended, or the block did.
        """
        done: tuple[int, FileEntry] = self._pool.ask((write_shard_file, task))
        return done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()
