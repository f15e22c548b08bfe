"""The rows of a corpus as its index files have them, and as rows of the supply."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.audit.evidence import Evidence, UnjudgedError
from vlm_assets.audit.words import I64, U64, Bool, Codes, among, fixed_bytes, fixed_words, hex_words, numbers
from vlm_assets.store.ahead import ahead
from vlm_assets.words.schema import INDEX_SCHEMA

_HOME: Final = ("source", "slice")
_ASSIGNED: Final = ("category", "subcategory", "licence")
_COLUMNS: Final = (*_HOME, *_ASSIGNED, "images_sha256", "digest", "image_bytes")


def index_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The named columns of an index file, a record batch at a time; only their bytes are read.

    Plain reads, not a memory map: mapped pages would count as this process's memory.

    Raises:
        UnjudgedError: missing, damaged, or without those columns.
    """
    try:
        with pa.OSFile(str(path)) as file:
            fields = sorted(INDEX_SCHEMA.get_field_index(name) for name in columns)
            reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=fields))
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number).select(list(columns))
                # Damaged offsets would otherwise lead reads out of the file, and end the process.
                batch.validate(full=True)
                yield batch
    except (OSError, pa.ArrowInvalid, KeyError, IndexError) as error:
        raise UnjudgedError(f"{path}: {error}") from error


def index_table(path: Path, columns: Sequence[str]) -> pa.Table:
    """The named columns of an index file, each in one chunk; see `index_batches`."""
    batches = list(index_batches(path, columns))
    schema = batches[0].schema if batches else pa.schema([INDEX_SCHEMA.field(name) for name in columns])
    return pa.Table.from_batches(batches, schema).combine_chunks()


def one_array(table: pa.Table, column: str) -> pa.Array:
    """A column of `index_table` as one array."""
    chunks = table.column(column).chunks
    return chunks[0] if chunks else pa.array([], table.schema.field(column).type)


def images_of(batch: pa.RecordBatch) -> tuple[I64, U64, pa.StructArray]:
    """The images of the batch's records of several: their rows, the first 16 bytes of their sha256, and their facts.

    Raises:
        ValueError: a hash is null or not one.
    """
    lists = batch.column("image_facts")
    counts = pc.list_value_length(lists)
    several = np.flatnonzero(numbers(counts) > 1)
    chosen = lists.take(pa.array(several))
    rows = several[pc.list_parent_indices(chosen).to_numpy(zero_copy_only=False)]
    facts = chosen.flatten()
    return rows, hex_words(facts.field("sha256")), facts


def with_image_of(batch: pa.RecordBatch, sha: U64, listed: U64) -> Bool:
    """Rows one of whose images is listed; `sha` are their `images_sha256`. Lists are read where they are given."""
    found = among(sha, listed)
    if "image_facts" in batch.schema.names:
        rows, words, _ = images_of(batch)
        found[rows[among(words, listed)]] = True
    return found


@dataclass(frozen=True, slots=True)
class CorpusRows:
    """Every row of the corpus, shard after shard. 40 bytes a row."""

    starts: I64
    """First row of each shard, and their number at the end."""
    words: U64
    """Shape (rows, 4): the first 16 bytes of the digest, and of `images_sha256`."""
    home: NDArray[np.int32]
    """Number of (source, slice) in `homes`."""
    homes: list[tuple[str | None, ...]]
    assigned: NDArray[np.int32]
    """Number of (category, subcategory, licence) in `assignments`."""
    assignments: list[tuple[str | None, ...]]
    image_bytes: list[int]
    """Of all rows of each of `assignments`."""
    rows_hash: dict[str, str]
    """Computed rows hash of each shard, by its bits."""

    @property
    def sha(self) -> U64:
        """Shape (rows, 2): the first 16 bytes of `images_sha256`: of a single image its own."""
        return self.words[:, 2:]

    def shard_of(self, row: int) -> int:
        """Number of the shard that a row stands in."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1


class _ShardRows:
    """The rows of one shard, its texts by numbers of its own."""

    def __init__(self) -> None:
        self.words: list[U64] = [np.empty((0, 4), np.uint64)]
        self.home: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        self.assigned: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        self.homes, self.assignments = Codes(), Codes()
        self.image_bytes: Counter[int] = Counter()
        self.rows_hash = sha256()

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes in one record batch.

        Raises:
            ValueError: a hash is null or not one.
        """
        digests = batch.column("digest")
        self.home.append(self.homes.encode([batch.column(name) for name in _HOME]))
        assigned = self.assignments.encode([batch.column(name) for name in _ASSIGNED])
        self.assigned.append(assigned)
        self.words.append(np.hstack((fixed_words(digests), fixed_words(batch.column("images_sha256")))))
        # Sums of a batch are far below 2**53: as floats they are exact.
        sizes = np.bincount(assigned, weights=numbers(batch.column("image_bytes")))
        self.image_bytes.update({number: int(size) for number, size in enumerate(sizes.tolist())})
        _hash_rows(self.rows_hash, fixed_bytes(digests), assigned, self.assignments)


def _read_shard(path: Path) -> _ShardRows:
    shard = _ShardRows()
    try:
        for batch in index_batches(path, _COLUMNS):
            shard.add(batch)
    except ValueError as error:
        raise UnjudgedError(f"{path}: {error}") from error
    return shard


def read_corpus_rows(evidence: Evidence, threads: int = 1) -> CorpusRows:
    """Reads all index files, some at once.

    Raises:
        UnjudgedError: one is missing or damaged.
    """
    homes, assignments = Codes(), Codes()
    parts: dict[str, list[Any]] = {name: [] for name in ("words", "home", "assigned")}
    hashes: dict[str, str] = {}
    image_bytes: Counter[int] = Counter()
    starts = [0]
    paths = [evidence.directory / f"index-r{bits}.arrow" for bits in evidence.shard_bits]
    for bits, shard in zip(evidence.shard_bits, ahead(_read_shard, paths, threads), strict=True):
        of_home = np.array([homes.number(one) for one in shard.homes.values], np.int32)
        of_assigned = np.array([assignments.number(one) for one in shard.assignments.values], np.int32)
        parts["words"] += shard.words
        parts["home"] += [of_home[one] for one in shard.home if len(one)]
        parts["assigned"] += [of_assigned[one] for one in shard.assigned if len(one)]
        image_bytes.update({int(of_assigned[n]): size for n, size in shard.image_bytes.items()})
        hashes[bits] = shard.rows_hash.hexdigest()
        starts.append(starts[-1] + sum(map(len, shard.words)))

    def joined(name: str, empty: Any) -> Any:
        return np.concatenate([empty, *parts.pop(name)])

    return CorpusRows(
        starts=np.array(starts, np.int64),
        words=joined("words", np.empty((0, 4), np.uint64)),
        home=joined("home", np.empty(0, np.int32)),
        homes=homes.values,
        assigned=joined("assigned", np.empty(0, np.int32)),
        assignments=assignments.values,
        image_bytes=[image_bytes[number] for number in range(len(assignments.values))],
        rows_hash=hashes,
    )


def _hash_rows(
    digest: Any, digests: NDArray[np.void], assigned: NDArray[np.int32], assignments: Codes
) -> None:
    r"""Row by row, the digest and sha256 of category, subcategory and licence joined by `\0`."""
    cells = [sha256("\0".join(value or "" for value in one).encode()).digest() for one in assignments.values]
    table = np.frombuffer(b"".join(cells), "V32")
    both = np.empty((len(digests), 2), "V32")
    both[:, 0] = digests
    both[:, 1] = table[assigned]
    digest.update(both.data.cast("B") if len(both) else b"")


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where each row of the corpus comes from: its place in the run of all supply rows, -1 where nowhere."""

    place: I64
    unknown_homes: list[str]
    """Slices that rows name and the plan does not have, or whose content is gone."""
    sha_differs: I64
    """Rows of the corpus whose `images_sha256` is not that of the slice's row."""


class Tracer:
    """Finds the slice row of every corpus row by its digest, a slice at a time; several at once may be entered."""

    def __init__(self, evidence: Evidence, rows: CorpusRows, planned: Bool) -> None:
        """Sorts the corpus rows by the slice that they name. `planned`: supply rows that the plan selects."""
        self._rows = rows
        self._starts = evidence.starts
        self._planned = planned
        self._place = np.full(len(rows.home), -1, np.int64)
        self._differs: dict[int, I64] = {}
        self._unknown: list[str] = []
        self._here: dict[int, I64] = {}
        by_name: dict[tuple[str | None, ...], int] = {
            (one.claim.source, one.claim.slice): n for n, one in enumerate(evidence.slices)
        }
        for home, here in _by_value(rows.home, len(rows.homes)):
            number = by_name.get(rows.homes[home])
            if number is None or evidence.slices[number].directory is None:
                self._unknown.append("/".join(str(part) for part in rows.homes[home]))
            else:
                self._here[number] = here

    def waits_for(self, number: int) -> bool:
        """Whether rows of the corpus say that they are of this slice, and it was not entered yet."""
        return number in self._here

    def enter(self, number: int, digests: U64, sha: U64) -> None:
        """Notes the places of one slice's rows, of which these are all."""
        here = self._here.pop(number, None)
        if here is None:
            return
        begin, end = int(self._starts[number]), int(self._starts[number + 1])
        fits = len(digests) == end - begin
        planned = np.flatnonzero(self._planned[begin:end]) if fits else np.empty(0, np.int64)
        # As one value a row: rows of the corpus lie far apart, and a row of four words is gathered word by word.
        words = self._rows.words.view("V32")[:, 0][here].view(np.uint64).reshape(-1, 4)
        found = _match_planned(digests, planned, np.ascontiguousarray(words[:, :2]))
        known = found >= 0
        if fits:
            self._place[here[known]] = begin + found[known]
        self._differs[number] = here[known][(sha[found[known]] != words[known, 2:]).any(axis=1)]

    def lineage(self) -> Lineage:
        """What was found in all slices that were entered."""
        differs = [self._differs[number] for number in sorted(self._differs)]
        return Lineage(self._place, self._unknown, np.concatenate([np.empty(0, np.int64), *differs]))


def _by_value(values: NDArray[np.int32], count: int) -> Iterator[tuple[int, I64]]:
    """(value, places that hold it), each place list ascending."""
    small = values.astype(np.uint16) if count < 2**16 else values
    order = np.argsort(small, kind="stable")
    ends = np.cumsum(np.bincount(values, minlength=count))
    begin = 0
    for value, end in enumerate(ends.tolist()):
        if end > begin:
            yield value, order[begin:end]
        begin = end


def _match_planned(table: U64, planned: I64, wanted: U64) -> I64:
    """`_match`; quick where `wanted` are exactly the planned rows, as they should be."""
    if len(planned) == len(wanted):
        left, right = np.argsort(table[planned, 0]), np.argsort(wanted[:, 0])
        rows = planned[left]
        if (table[rows] == wanted[right]).all():
            found = np.empty(len(wanted), np.int64)
            found[right] = rows
            return found
    return _match(table, wanted)


def _match(table: U64, wanted: U64) -> I64:
    """Row of `table` that equals each row of `wanted`, -1 where none does. Rows of `table` are distinct."""
    if not len(table):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(table[:, 0])
    at = np.minimum(np.searchsorted(table[order, 0], wanted[:, 0]), len(table) - 1)
    found = order[at]
    return np.where((table[found] == wanted).all(axis=1), found, -1)
