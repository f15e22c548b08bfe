"""Reads data files of a corpus row by row: do bytes hash to what is on record, and does the index say the same.

Work is cut into parts of shards for worker processes: hashing small images holds the GIL, so threads give nothing.
"""

import mmap
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from vlm_assets.audit.decoding import decode_fault
from vlm_assets.audit.findings import MAX_EXAMPLES
from vlm_assets.audit.once_read import BLOCK_BYTES, OnceRead, read_hash
from vlm_assets.audit.pages import ask_for_rows
from vlm_assets.audit.words import I64, ranks
from vlm_assets.store.away import away, away_in, readable
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import (
    MachineError,
    RemoteError,
    StoreError,
    machine_error,
    of_the_machine,
    of_the_medium,
)
from vlm_assets.words.schema import ASSIGNED_COLUMNS, COLUMN_NAMES, INDEX_SCHEMA
from vlm_assets.workers.pool import WorkerPool

if TYPE_CHECKING:  # worker processes import this module; it is to load fast
    from vlm_assets.audit.evidence import Evidence

_PARTS_PER_WORKER: Final = 4
_CUT_COSTS: Final = 1.25
"""Time for a shard that is read in parts and hashed on its own, against one that is read whole."""
_SAMPLED_SHARDS: Final = 64
_DECODED: Final = 32
_SHARED: Final = tuple(name for name in INDEX_SCHEMA.names if name in COLUMN_NAMES)
_FLAT: Final = (
    "digest", "image_count", "image_bytes", "min_side_px", "dhash", "images_sha256", "text_sha256", "messages_sha256",
    "content_sha256",
)  # fmt: skip
_DIGESTED: Final = tuple(name for name in COLUMN_NAMES if name != "images" and name not in ASSIGNED_COLUMNS)


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
    hash_only: bool = False
    """Nothing but the file's own hash: its rows are in other tasks."""

    @property
    def whole(self) -> bool:
        """Every row: the file's own hash is taken in the same pass."""
        return self.parts == 1 and self.wanted is None


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
    tasks: Sequence[ContentTask], *, pool: WorkerPool | None, progress: Callable[[int], None]
) -> ContentResult:
    """All tasks, begun in their order, by `pool` or in this process; `progress` is told the rows done in all.

    Raises:
        WorkerError: a worker ended, or met what it cannot read.
    """
    found: dict[int, ContentResult] = {}
    done = 0
    for number, result in _run(tasks, pool):
        found[number] = result
        done += result.rows
        progress(done)
    total = ContentResult()
    for number in sorted(found):
        total.add(found[number])
    return total


def _run(tasks: Sequence[ContentTask], pool: WorkerPool | None) -> Iterator[tuple[int, ContentResult]]:
    if pool is None:
        return enumerate(map(check_content, tasks))
    return pool.run([(check_content, task) for task in tasks])


def shards_to_cut(sizes: Sequence[int], workers: int) -> int:
    """How many of these shards, largest first, to cut into parts, from the last on, to be done soonest.

    A whole shard is hashed as a file in the same pass, while its bytes are in the processor's cache; one in parts is
    read again for that, but keeps every worker busy until the end.
    """

    def work(cut: int) -> float:
        loads = [0.0] * workers
        for size in sizes[: len(sizes) - cut]:
            loads[loads.index(min(loads))] += size
        return max(*loads, (sum(loads) + _CUT_COSTS * sum(sizes[len(sizes) - cut :])) / workers)

    return min(range(len(sizes) + 1), key=work)


def check_content(task: ContentTask) -> ContentResult:
    """Checks one task. A file that cannot be read to its end is in the result, never raised.

    Raises:
        MachineError: there is no memory or descriptor for it, which says nothing of the file.
    """
    result = ContentResult()
    try:
        if task.hash_only:
            result.file_hashes[task.data.name] = read_hash(task.data)
            return result
        if task.wanted is not None:
            ask_for_rows(task.data, (*task.wanted, *task.decode))
        with pa.memory_map(str(task.index)) as mapped:
            index = pa.ipc.open_file(mapped).read_all()
        if task.wanted is None:
            index.validate(full=True)  # damaged offsets would lead reads out of the file, and end the process
        for batch in _batches(task, result):
            _check_batch(result, task, batch, index.slice(batch.first, batch.rows.num_rows))
        if index.num_rows != task.rows:
            result.unreadable.append(
                f"{task.index.name}: {so_many(index.num_rows, 'row')}, the manifest says {task.rows}"
            )
    except (OSError, pa.ArrowInvalid, ValueError, KeyError) as error:
        if of_the_machine(error) and not of_the_medium(error):
            raise machine_error(f"{task.data.name} cannot be read now", error) from error
        result.unreadable.append(f"{task.data.name}: {error}")
    return result


@dataclass(frozen=True, slots=True)
class _Batch:
    """One record batch of a mapped data file."""

    first: int
    rows: pa.RecordBatch
    address: int
    """Of the mapping: buffers are found in the file by it."""
    once: OnceRead | None
    """Reads the images, where the whole file is read anyway."""


def _batches(task: ContentTask, result: ContentResult) -> Iterator[_Batch]:
    """The task's part; pages are given back after each. A shard in one part is hashed as a file."""
    with task.data.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed with its last buffer
    if task.wanted is not None:
        mapped.madvise(mmap.MADV_RANDOM)  # else the kernel reads 128 KB around every value
    whole = pa.py_buffer(mapped)
    first = 0
    with closing(OnceRead(task.data)) as once:
        for number, batch in enumerate(pa.ipc.open_stream(whole)):
            if number % task.parts == task.part:
                yield _Batch(first, batch, whole.address, once if task.whole else None)
                mapped.madvise(mmap.MADV_DONTNEED)
            first += batch.num_rows
        if task.whole:
            result.file_hashes[task.data.name] = once.finish()
    if first != task.rows:
        raise ValueError(f"{so_many(first, 'row')}, the manifest says {task.rows}")


def _check_batch(result: ContentResult, task: ContentTask, batch: _Batch, index: pa.Table) -> None:
    first, rows = batch.first, batch.rows
    if task.wanted is None:
        _check_rows(result, task, batch, index)
    # Row by row: `take` on the image column would copy all of it.
    for row in task.wanted or ():
        if first <= row < first + rows.num_rows:
            one, said = (
                replace(batch, first=row, rows=rows.slice(row - first, 1)),
                index.slice(row - first, 1),
            )
            said.validate(full=True)  # of this row alone: the rest is not even read
            _check_rows(result, task, one, said)
    for row in task.decode:
        if first <= row < first + rows.num_rows:
            _decode(result, task, row, rows.slice(row - first, 1))


def _image_hashes(batch: _Batch, encoded: pa.Array, starts: list[int]) -> list[str]:
    """sha256 of every image; `starts` ascend and lie in the data buffer."""
    buffer = encoded.buffers()[2]
    data = memoryview(buffer) if buffer is not None else memoryview(b"")
    once = batch.once
    if once is None or buffer is None:
        return [sha256(data[begin:end]).hexdigest() for begin, end in pairwise(starts)]
    place, last = buffer.address - batch.address, len(starts) - 1
    once.skip(place + starts[0])
    hashes: list[str] = []
    while (at := len(hashes)) < last:
        stop = max(at + 1, bisect_right(starts, starts[at] + BLOCK_BYTES, at) - 1)
        block = once.read(place + starts[stop])
        hashes += [
            sha256(block[begin - starts[at] : end - starts[at]]).hexdigest()
            for begin, end in pairwise(starts[at : stop + 1])
        ]
    return hashes


def _check_rows(result: ContentResult, task: ContentTask, batch: _Batch, index: pa.Table) -> None:
    first, rows = batch.first, batch.rows
    if index.num_rows != rows.num_rows:
        raise ValueError(f"the index ends before row {first + rows.num_rows}")
    rows.validate(full=True)
    result.rows += rows.num_rows
    if not rows.num_rows:
        return
    images, facts = rows.column("images"), rows.column("image_facts")
    encoded = images.flatten().field(0)
    if images.null_count or encoded.null_count:
        result.bad_images += images.null_count or encoded.null_count
        result.image_examples.append(f"{task.data.name} from row {first}: an image is null")
        return
    owners = pc.list_parent_indices(images).to_pylist()
    if owners != pc.list_parent_indices(facts).to_pylist():
        result.bad_images += 1
        result.image_examples.append(
            f"{task.data.name} from row {first}: images and image_facts are not as many"
        )
        return
    starts = np.frombuffer(encoded.buffers()[1], np.int32, len(encoded) + 1, 4 * encoded.offset).tolist()
    hashes = _image_hashes(batch, encoded, starts)
    result.image_bytes += starts[-1] - starts[0]
    said = facts.flatten()
    recorded = said.field("sha256").to_pylist()
    wrong = [number for number, (a, b) in enumerate(zip(hashes, recorded, strict=True)) if a != b]
    result.bad_images += len(wrong)
    result.image_examples += [
        f"{task.data.name} row {first + owners[number]} ({rows.column('id')[owners[number]]}): sha256 "
        f"{hashes[number][:16]}…, on record {str(recorded[number])[:16]}…"
        for number in wrong[:MAX_EXAMPLES]
    ]
    bad = _sizes_that_differ(said, starts, frozenset(wrong), owners)
    _check_values(result, task, batch, index, bad)


def _sizes_that_differ(
    facts: pa.StructArray, starts: list[int], wrong: frozenset[int], owners: list[int]
) -> dict[int, str]:
    """By row: a size on record that is not the image's; images with other bytes anyway are left alone."""
    sizes = facts.field("size_bytes").to_pylist()
    return {
        owners[number]: f"size_bytes {size}, the image has {end - begin}"
        for number, (size, (begin, end)) in enumerate(zip(sizes, pairwise(starts), strict=True))
        if size != end - begin and number not in wrong
    }


def _check_values(
    result: ContentResult, task: ContentTask, batch: _Batch, index: pa.Table, bad: dict[int, str]
) -> None:
    """`bad`: what is known to be wrong so far, by row of the batch."""
    first, rows = batch.first, batch.rows
    for name in _SHARED:
        column = index.column(name).combine_chunks()
        if not rows.column(name).equals(column):
            pairs = zip(rows.column(name).to_pylist(), column.to_pylist(), strict=True)
            for row, (here, there) in enumerate(pairs):
                if here != there:
                    bad.setdefault(row, f"{name} {here!r}, the index says {there!r}"[:300])
    columns = {name: rows.column(name).to_pylist() for name in _DIGESTED}
    told = {name: index.column(name).to_pylist() for name in _FLAT}
    for row in range(rows.num_rows):
        values = {name: columns[name][row] for name in _DIGESTED}
        fault = _fault_of(values, {name: told[name][row] for name in _FLAT})
        if fault:
            bad.setdefault(row, fault)
    result.bad_values += len(bad)
    ids = rows.column("id")
    result.value_examples += [
        f"{task.data.name} row {first + row} ({ids[row]}): {fault}"
        for row, fault in list(bad.items())[:MAX_EXAMPLES]
    ]


def _fault_of(values: dict[str, Any], told: dict[str, Any]) -> str:
    """What the index's flat columns say of a row that its own values do not; "" where they agree."""
    facts = values["image_facts"]
    hashes = [bytes.fromhex(fact["sha256"]) for fact in facts]
    images = hashes[0] if len(hashes) == 1 else sha256(b"".join(hashes)).digest()
    text = sha256((values["text"] or "").encode()).digest()
    messages = values["messages"]
    said = sha256(b"" if messages is None else orjson.dumps(messages)).digest()
    lists = {**values, "image_facts": [list(fact.values()) for fact in facts]}
    found = {
        "digest": sha256(orjson.dumps(list(lists.values()))).digest(),
        "image_count": len(facts),
        "image_bytes": sum(fact["size_bytes"] for fact in facts),
        "min_side_px": min(side for fact in facts for side in (fact["width_px"], fact["height_px"])),
        "dhash": facts[0]["dhash"] if len(facts) == 1 else None,
        "images_sha256": images,
        "text_sha256": text,
        "messages_sha256": said,
        "content_sha256": sha256(images + text + said).digest(),
    }
    wrong = [name for name, value in found.items() if told[name] != value]
    if wrong == ["digest"] or "digest" in wrong:
        return "its values do not have the digest on record"
    return f"{', '.join(wrong)} in the index are not those of its values" if wrong else ""


def _decode(result: ContentResult, task: ContentTask, number: int, batch: pa.RecordBatch) -> None:
    """Reads the images of a row as `datasets` does, fully, and compares format and size."""
    row: dict[str, Any] = batch.to_pylist()[0]
    result.decoded += 1
    told = ""
    for place, (image, fact) in enumerate(zip(row["images"] or (), row["image_facts"], strict=False), 1):
        fault = decode_fault(image["bytes"], fact)
        if fault:
            told = f"image {place} {fault}" if len(row["image_facts"]) > 1 else fault
            break
    if told:
        result.bad_decodes += 1
        result.decode_examples.append(f"{task.data.name} row {number} ({row['id']}): {told}")


def read_content(
    evidence: "Evidence", *, pool: WorkerPool | None, progress: Callable[[int], None]
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
    tasks = []
    for number, one in enumerate(bits):
        own = [v[(v >= starts[number]) & (v < starts[number + 1])] - starts[number] for v in (sample, decode)]
        tasks.append(
            ContentTask(
                data=evidence.directory / f"data-r{one}.arrow",
                index=evidence.directory / f"index-r{one}.arrow",
                rows=sizes[one],
                wanted=None if evidence.full else tuple(own[0].tolist()),
                decode=tuple(own[1].tolist()),
            )
        )
    if evidence.full and pool is not None and not away_in(evidence.directory):
        shards = {
            task.data: corpus.shards[one].data.size_bytes for task, one in zip(tasks, bits, strict=True)
        }
        tasks = _in_good_order(tasks, shards, pool.most)
    here = [task for task in tasks if away(task.data) is None]
    result = run_tasks(here, pool=pool, progress=progress)
    for task in (task for task in tasks if away(task.data) is not None):
        result.add(_lent(task, pool, partial(_further, progress, result.rows)))
    return result


def _further(progress: Callable[[int], None], done: int, rows: int) -> None:
    progress(done + rows)


def _lent(task: ContentTask, pool: WorkerPool | None, progress: Callable[[int], None]) -> ContentResult:
    """One task over a shard that lies at the remote alone: it comes for that long, before the next one does."""
    try:
        with readable(task.data) as here:
            return run_tasks([replace(task, data=here)], pool=pool, progress=progress)
    except MachineError:
        raise
    except (StoreError, RemoteError) as error:
        return ContentResult(unreadable=[f"{task.data.name}: {error}"])


def _in_good_order(tasks: list[ContentTask], sizes: dict[Path, int], workers: int) -> list[ContentTask]:
    """Largest shards first; the last cut into parts."""
    tasks = sorted(tasks, key=lambda task: -sizes[task.data])
    whole = len(tasks) - shards_to_cut([sizes[task.data] for task in tasks], workers)
    parts = _PARTS_PER_WORKER * workers
    cut = [
        piece
        for task in tasks[whole:]
        for piece in (
            replace(task, hash_only=True),
            *(replace(task, part=part, parts=parts) for part in range(parts)),
        )
    ]
    return tasks[:whole] + cut


def _lowest(count: int, wanted: int, seed: int) -> I64:
    """`wanted` of `count` numbers, evenly spread, the same for one seed."""
    order = ranks(np.arange(count, dtype=np.uint64), seed)
    if wanted >= count:
        return np.arange(count)
    return np.argpartition(order, wanted)[:wanted]
