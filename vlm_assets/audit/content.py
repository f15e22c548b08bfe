"""Reads data files of a corpus row by row: do bytes hash to what is on record, and does the index say the same.

Work is cut into parts of shards for worker processes: hashing small images holds the GIL, so threads give nothing.
"""

import mmap
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson
import pyarrow as pa
from blake3 import blake3

from vlm_assets.audit.findings import MAX_EXAMPLES
from vlm_assets.audit.words import I64, ranks
from vlm_assets.schema import ASSIGNED_COLUMNS, COLUMN_NAMES, INDEX_SCHEMA

if TYPE_CHECKING:  # worker processes import this module; it is to load fast
    from vlm_assets.audit.evidence import Evidence

_CACHED_BYTES: Final = 512 * 1024
"""Of images that were just hashed: about what a core's own cache still holds."""
_IN_PROCESS_BYTES: Final = 256 * 2**20
"""Less data than this is read in the calling process: starting workers costs more."""
_PARTS_PER_WORKER: Final = 4
_SAMPLED_SHARDS: Final = 64
_DECODED: Final = 32
_SHARED: Final = tuple(name for name in INDEX_SCHEMA.names if name in COLUMN_NAMES)
_DIGESTED: Final = tuple(name for name in COLUMN_NAMES if name != "image" and name not in ASSIGNED_COLUMNS)


@dataclass(frozen=True, slots=True)
class ContentTask:
    """Every `parts`-th record batch of a shard from `part` on; of those the `wanted` rows only, if given."""

    data: Path
    index: Path
    rows: int
    part: int = 0
    parts: int = 1
    wanted: tuple[int, ...] | None = None
    decode: tuple[int, ...] = ()


@dataclass(slots=True)
class ContentResult:
    """What was found in one part, and over all parts when merged."""

    rows: int = 0
    image_bytes: int = 0
    unreadable: list[str] = field(default_factory=list)
    bad_images: int = 0
    bad_values: int = 0
    bad_decodes: int = 0
    decoded: int = 0
    image_examples: list[str] = field(default_factory=list)
    value_examples: list[str] = field(default_factory=list)
    decode_examples: list[str] = field(default_factory=list)
    file_hashes: dict[str, str] = field(default_factory=dict)
    """blake3 hex by name, of data files that were read from end to end."""

    def add(self, other: "ContentResult") -> None:
        """Takes another part in."""
        for name in ("rows", "image_bytes", "bad_images", "bad_values", "bad_decodes", "decoded"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("unreadable", "image_examples", "value_examples", "decode_examples"):
            getattr(self, name).extend(getattr(other, name))
        self.file_hashes.update(other.file_hashes)


def run_tasks(
    tasks: Sequence[ContentTask],
    *,
    workers: int,
    size_bytes: int,
    progress: Callable[[int], None],
    cancelled: Event | None = None,
) -> ContentResult:
    """All tasks, in this process where `size_bytes` is little; `progress` is told the rows done in all.

    Raises:
        CancelledError: `cancelled` was set; tasks under way are waited for.
    """
    total = ContentResult()
    if not worth_workers(workers, size_bytes):
        for task in tasks:
            total.add(check_content(task))
            progress(total.rows)
        return total
    context = multiprocessing.get_context("spawn")  # Arrow's threads do not survive a fork
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for future in [pool.submit(check_content, task) for task in tasks]:
            total.add(future.result())
            progress(total.rows)
            if cancelled is not None and cancelled.is_set():
                pool.shutdown(cancel_futures=True)
                raise CancelledError
    return total


def worth_workers(workers: int, size_bytes: int) -> bool:
    """Whether so many bytes are read by worker processes."""
    return workers > 1 and size_bytes >= _IN_PROCESS_BYTES


def parts_for(shards: int, workers: int) -> list[int]:
    """Parts to cut each shard into: as many whole ones as keep all workers busy, the rest in pieces for the end.

    A whole shard is hashed as a file in the same pass, while its bytes are in the processor's cache.
    """
    whole = shards // workers * workers
    return [1] * whole + [_PARTS_PER_WORKER * workers] * (shards - whole)


def check_content(task: ContentTask) -> ContentResult:
    """Checks one task. A file that cannot be read to its end is in the result, never raised."""
    result = ContentResult()
    try:
        with pa.memory_map(str(task.index)) as mapped:
            index = pa.ipc.open_file(mapped).read_all()
        index.validate(full=True)  # damaged offsets would lead reads out of the file, and end the process
        for first, batch, file_hash in _batches(task, result):
            _check_batch(result, task, first, batch, index.slice(first, batch.num_rows), file_hash)
        if index.num_rows != task.rows:
            result.unreadable.append(
                f"{task.index.name}: {index.num_rows} rows, the manifest says {task.rows}"
            )
    except (OSError, pa.ArrowInvalid, ValueError, KeyError) as error:
        result.unreadable.append(f"{task.data.name}: {error}")
    return result


class _FileHash:
    """blake3 of a mapped file, taken as far as it was read anyway: what is still in the CPU's cache costs least."""

    def __init__(self, mapped: mmap.mmap, address: int) -> None:
        self._mapped, self._address, self._done, self._digest = mapped, address, 0, blake3()

    def upto(self, end: int) -> None:
        """Takes in the bytes before `end`."""
        if end > self._done:
            with memoryview(self._mapped) as whole, whole[self._done : end] as part:
                self._digest.update(part)
            self._done = end

    def place_of(self, buffer: pa.Buffer) -> int:
        """Where a buffer of the file begins in it."""
        return int(buffer.address) - self._address

    def finish(self) -> str:
        """Takes in the rest; the hash in hex."""
        self.upto(len(self._mapped))
        return self._digest.hexdigest()


def _batches(
    task: ContentTask, result: ContentResult
) -> Iterator[tuple[int, pa.RecordBatch, _FileHash | None]]:
    """(first row, batch, hash) of the task's part; pages are given back after each. A shard in one part is hashed."""
    with task.data.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed with its last buffer
    whole = pa.py_buffer(mapped)
    source = pa.BufferReader(whole)
    reader = pa.ipc.open_stream(source)
    file_hash = _FileHash(mapped, whole.address) if task.parts == 1 and task.wanted is None else None
    first = 0
    for number, batch in enumerate(reader):
        if number % task.parts == task.part:
            yield first, batch, file_hash
            if file_hash is not None:
                file_hash.upto(source.tell())
            mapped.madvise(mmap.MADV_DONTNEED)
        first += batch.num_rows
    if file_hash is not None:
        result.file_hashes[task.data.name] = file_hash.finish()
    if first != task.rows:
        raise ValueError(f"{first} rows, the manifest says {task.rows}")


def _check_batch(
    result: ContentResult,
    task: ContentTask,
    first: int,
    batch: pa.RecordBatch,
    index: pa.Table,
    file_hash: _FileHash | None,
) -> None:
    if task.wanted is None:
        _check_rows(result, task, first, batch, index, file_hash)
    # Row by row: `take` on the image column would copy all of it.
    for row in task.wanted or ():
        if first <= row < first + batch.num_rows:
            _check_rows(result, task, row, batch.slice(row - first, 1), index.slice(row - first, 1))
    for row in task.decode:
        if first <= row < first + batch.num_rows:
            _decode(result, task, row, batch.slice(row - first, 1))


def _image_hashes(encoded: pa.Array, starts: list[int], file_hash: _FileHash | None) -> list[str]:
    """sha256 of every image; the file's hash follows close behind."""
    buffer = encoded.buffers()[2]
    data = memoryview(buffer) if buffer is not None else memoryview(b"")
    place = file_hash.place_of(buffer) if file_hash is not None and buffer is not None else 0
    hashes, behind = [], starts[0]
    for begin, end in pairwise(starts):
        hashes.append(sha256(data[begin:end]).hexdigest())
        if file_hash is not None and end - behind >= _CACHED_BYTES:
            file_hash.upto(place + end)
            behind = end
    return hashes


def _check_rows(
    result: ContentResult,
    task: ContentTask,
    first: int,
    batch: pa.RecordBatch,
    index: pa.Table,
    file_hash: _FileHash | None = None,
) -> None:
    if index.num_rows != batch.num_rows:
        raise ValueError(f"the index ends before row {first + batch.num_rows}")
    batch.validate(full=True)
    result.rows += batch.num_rows
    if not batch.num_rows:
        return
    images = batch.column("image")
    encoded = images.field(0)
    if images.null_count or encoded.null_count:
        result.bad_images += images.null_count or encoded.null_count
        result.image_examples.append(f"{task.data.name} from row {first}: an image is null")
        return
    starts = np.frombuffer(encoded.buffers()[1], np.int32, len(encoded) + 1, 4 * encoded.offset).tolist()
    hashes = _image_hashes(encoded, starts, file_hash)
    result.image_bytes += starts[-1] - starts[0]
    recorded = index.column("image_sha256").to_pylist()
    if hashes != recorded:
        wrong = [row for row, (found, said) in enumerate(zip(hashes, recorded, strict=True)) if found != said]
        result.bad_images += len(wrong)
        result.image_examples += [
            f"{task.data.name} row {first + row} ({batch.column('id')[row]}): sha256 {hashes[row][:16]}…, "
            f"on record {str(recorded[row])[:16]}…"
            for row in wrong[:MAX_EXAMPLES]
        ]
    offsets = np.array(starts, np.int64)
    lengths = offsets[1:] - offsets[:-1]
    whole = np.array([a == b for a, b in zip(hashes, recorded, strict=True)], bool)
    sizes = _sizes(batch)
    _check_values(result, task, first, batch, index, np.where(whole, lengths, sizes))


def _sizes(batch: pa.RecordBatch) -> I64:
    """`size_bytes`; not by `to_numpy`, which imports pandas, a second in every worker."""
    column = batch.column("size_bytes")
    return np.frombuffer(column.buffers()[1], np.int64, len(column), 8 * column.offset)


def _check_values(
    result: ContentResult, task: ContentTask, first: int, batch: pa.RecordBatch, index: pa.Table, lengths: I64
) -> None:
    """`lengths`: of the images; as on record where the bytes are other ones anyway."""
    bad: dict[int, str] = {}
    for name in _SHARED:
        column = index.column(name).combine_chunks()
        if not batch.column(name).equals(column):
            pairs = zip(batch.column(name).to_pylist(), column.to_pylist(), strict=True)
            for row, (here, there) in enumerate(pairs):
                if here != there:
                    bad.setdefault(row, f"{name} {here!r}, the index says {there!r}")
    sizes = _sizes(batch)
    for row in np.flatnonzero(sizes != lengths).tolist():
        bad.setdefault(row, f"size_bytes {sizes[row]}, the image has {lengths[row]}")
    digests = index.column("digest").to_pylist()
    columns = [batch.column(name).to_pylist() for name in _DIGESTED]
    for row, (digest, values) in enumerate(zip(digests, zip(*columns, strict=True), strict=True)):
        if sha256(orjson.dumps(values)).digest() != digest:
            bad.setdefault(row, "its values do not have the digest on record")
    result.bad_values += len(bad)
    ids = batch.column("id")
    result.value_examples += [
        f"{task.data.name} row {first + row} ({ids[row]}): {told}"
        for row, told in list(bad.items())[:MAX_EXAMPLES]
    ]


def _decode(result: ContentResult, task: ContentTask, number: int, batch: pa.RecordBatch) -> None:
    """Opens one image with Pillow, fully, and compares format and size."""
    from io import BytesIO

    from PIL import Image

    row: dict[str, Any] = batch.to_pylist()[0]
    result.decoded += 1
    told = ""
    try:
        with Image.open(BytesIO(row["image"]["bytes"])) as image:
            image.load()
            found = (image.format, *image.size)
        said = (row["format"], row["width_px"], row["height_px"])
        if found[1:] != said[1:] or (found[0] or "").replace("MPO", "JPEG") != said[0]:
            told = f"decodes to {found}, on record {said}"
    except Exception as error:  # noqa: BLE001 - boundary to decoders; the finding records it
        told = f"does not decode: {type(error).__name__}: {error}"
    if told:
        result.bad_decodes += 1
        result.decode_examples.append(f"{task.data.name} row {number} ({row['id']}): {told}")


def read_content(
    evidence: "Evidence", *, workers: int, progress: Callable[[int], None], cancelled: Event | None = None
) -> ContentResult:
    """All rows with `full`, otherwise a sample: up to 64 shards, rows uniform in them, seeded by the root hash."""
    corpus = evidence.corpus
    seed = int(corpus.root_hash[:16], 16)
    bits = evidence.shard_bits
    sizes = {one: corpus.shards[one].rows for one in bits}
    if not evidence.full and len(bits) > _SAMPLED_SHARDS:
        bits = [bits[i] for i in sorted(_lowest(len(bits), _SAMPLED_SHARDS, seed).tolist())]
    starts = np.cumsum([0, *(sizes[one] for one in bits)])
    sample = np.sort(_lowest(int(starts[-1]), evidence.sample_rows, seed))
    decode = np.sort(_lowest(int(starts[-1]), min(_DECODED, evidence.sample_rows), seed))
    parts = parts_for(len(bits), workers) if evidence.full else [1] * len(bits)
    tasks = []
    for number, one in enumerate(bits):
        own = [v[(v >= starts[number]) & (v < starts[number + 1])] - starts[number] for v in (sample, decode)]
        tasks += [
            ContentTask(
                data=evidence.directory / f"data-r{one}.arrow",
                index=evidence.directory / f"index-r{one}.arrow",
                rows=sizes[one],
                part=part,
                parts=parts[number],
                wanted=None if evidence.full else tuple(own[0].tolist()),
                decode=tuple(own[1].tolist()),
            )
            for part in range(parts[number])
        ]
    size_bytes = corpus.data_bytes if evidence.full else 0
    return run_tasks(tasks, workers=workers, size_bytes=size_bytes, progress=progress, cancelled=cancelled)


def _lowest(count: int, wanted: int, seed: int) -> I64:
    """`wanted` of `count` numbers, evenly spread, the same for one seed."""
    order = ranks(np.arange(count, dtype=np.uint64), seed)
    if wanted >= count:
        return np.arange(count)
    return np.argpartition(order, wanted)[:wanted]
