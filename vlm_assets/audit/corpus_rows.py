"""The rows of a corpus as its index files have them, and as rows of the supply."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.audit.ahead import ahead
from vlm_assets.audit.evidence import Evidence, FoundSlice, UnjudgedError
from vlm_assets.audit.words import I64, U64, Codes, fixed_bytes, fixed_words, hex_words
from vlm_assets.schema import INDEX_SCHEMA
from vlm_assets.store.slices import INDEX_FILE

_TEXTS: Final = ("source", "slice", "category", "subcategory", "licence")
_COLUMNS: Final = (*_TEXTS, "image_sha256", "digest", "size_bytes")


def index_table(path: Path, columns: Sequence[str]) -> pa.Table:
    """The named columns of an index file, each in one chunk.

    Plain reads, not a memory map: mapped pages would count as this process's memory.

    Raises:
        UnjudgedError: missing, damaged, or without those columns.
    """
    try:
        with pa.OSFile(str(path)) as file:
            fields = sorted(INDEX_SCHEMA.get_field_index(name) for name in columns)
            options = pa.ipc.IpcReadOptions(included_fields=fields)
            table = pa.ipc.open_file(file, options=options).read_all().select(list(columns))
        # Damaged offsets would otherwise lead reads out of the file, and end the process.
        table.validate(full=True)
        return table.combine_chunks()
    except (OSError, pa.ArrowInvalid, KeyError, IndexError) as error:
        raise UnjudgedError(f"{path}: {error}") from error


def one_array(table: pa.Table, column: str) -> pa.Array:
    """A column of `index_table` as one array."""
    chunks = table.column(column).chunks
    return chunks[0] if chunks else pa.array([], table.schema.field(column).type)


@dataclass(frozen=True, slots=True)
class CorpusRows:
    """Every row of the corpus, shard after shard. About 60 bytes a row."""

    starts: I64
    """First row of each shard, and their number at the end."""
    digest: U64
    """Shape (rows, 2): the first 16 bytes."""
    sha: U64
    home: NDArray[np.int32]
    """Number of (source, slice) in `homes`."""
    homes: list[tuple[str | None, str | None]]
    assigned: NDArray[np.int32]
    """Number of (category, subcategory, licence) in `assignments`."""
    assignments: list[tuple[str | None, str | None, str | None]]
    size_bytes: I64
    rows_hash: dict[str, str]
    """Computed rows hash of each shard, by its bits."""

    def shard_of(self, row: int) -> int:
        """Number of the shard that a row stands in."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1


@dataclass(frozen=True, slots=True)
class _ShardRows:
    """The rows of one shard, its texts by numbers of its own."""

    digest: U64
    sha: U64
    size_bytes: I64
    encoded: dict[str, NDArray[np.int32]]
    codes: dict[str, Codes]
    rows_hash: str


def _read_shard(path: Path) -> _ShardRows:
    table = index_table(path, _COLUMNS)
    codes = {name: Codes() for name in _TEXTS}
    try:
        digests = one_array(table, "digest")
        encoded = {name: codes[name].encode(one_array(table, name)) for name in _TEXTS}
        return _ShardRows(
            digest=fixed_words(digests),
            sha=hex_words(one_array(table, "image_sha256")),
            size_bytes=one_array(table, "size_bytes").to_numpy(zero_copy_only=False),
            encoded=encoded,
            codes=codes,
            rows_hash=_rows_hash(fixed_bytes(digests), encoded, codes),
        )
    except ValueError as error:
        raise UnjudgedError(f"{path}: {error}") from error


def read_corpus_rows(evidence: Evidence, threads: int = 1) -> CorpusRows:
    """Reads all index files, some at once.

    Raises:
        UnjudgedError: one is missing or damaged.
    """
    codes = {name: Codes() for name in _TEXTS}
    parts: dict[str, list[Any]] = {name: [] for name in (*_TEXTS, "digest", "sha", "size_bytes")}
    hashes: dict[str, str] = {}
    starts = [0]
    paths = [evidence.directory / f"index-r{bits}.arrow" for bits in evidence.shard_bits]
    for bits, shard in zip(evidence.shard_bits, ahead(_read_shard, paths, threads), strict=True):
        for name in _TEXTS:
            numbers = np.array([codes[name].number(value) for value in shard.codes[name].values], np.int32)
            parts[name].append(numbers[shard.encoded[name]])
        parts["digest"].append(shard.digest)
        parts["sha"].append(shard.sha)
        parts["size_bytes"].append(shard.size_bytes)
        hashes[bits] = shard.rows_hash
        starts.append(starts[-1] + len(shard.digest))
    joined: dict[str, Any] = {name: np.concatenate(values) for name, values in parts.items()}
    home, homes = _combined([joined["source"], joined["slice"]], [codes["source"], codes["slice"]])
    names = ("category", "subcategory", "licence")
    assigned, assignments = _combined([joined[n] for n in names], [codes[n] for n in names])
    return CorpusRows(
        starts=np.array(starts, np.int64),
        digest=joined["digest"],
        sha=joined["sha"],
        home=home,
        homes=[(one[0], one[1]) for one in homes],
        assigned=assigned,
        assignments=[(one[0], one[1], one[2]) for one in assignments],
        size_bytes=joined["size_bytes"],
        rows_hash=hashes,
    )


def _combined(
    columns: Sequence[NDArray[np.int32]], codes: Sequence[Codes]
) -> tuple[NDArray[np.int32], list[tuple[str | None, ...]]]:
    """Number of each distinct tuple of values, and the tuples."""
    packed = np.zeros(len(columns[0]), np.int64)
    for column, one in zip(columns, codes, strict=True):
        packed = packed * max(len(one.values), 1) + column
    sizes = [max(len(one.values), 1) for one in codes]
    distinct, numbers = _distinct(packed)
    tuples: list[tuple[str | None, ...]] = []
    for value in distinct.tolist():
        parts: list[str | None] = []
        left = value
        for size, one in zip(reversed(sizes), reversed(codes), strict=True):
            left, place = divmod(left, size)
            parts.append(one.values[place])
        tuples.append(tuple(reversed(parts)))
    return numbers.astype(np.int32), tuples


def _distinct(values: I64) -> tuple[I64, I64]:
    """`np.unique` with the inverse, without sorting all values where they are small."""
    if len(values) and values.max() < 10_000_000:
        present = np.zeros(int(values.max()) + 1, bool)
        present[values] = True
        distinct = np.flatnonzero(present)
        place = np.cumsum(present) - 1
        return distinct, place[values]
    found, inverse = np.unique(values, return_inverse=True)
    return found, inverse


def _rows_hash(
    digests: NDArray[np.void], encoded: dict[str, NDArray[np.int32]], codes: dict[str, Codes]
) -> str:
    r"""sha256 over, row by row, the digest and sha256 of category, subcategory and licence joined by `\0`."""
    names = ("category", "subcategory", "licence")
    numbers, tuples = _combined([encoded[n] for n in names], [codes[n] for n in names])
    cells = [sha256("\0".join(value or "" for value in one).encode()).digest() for one in tuples]
    table = np.frombuffer(b"".join(cells), "V32")
    digest = sha256()
    for begin in range(0, len(digests), 262_144):
        end = min(begin + 262_144, len(digests))
        both = np.empty((end - begin, 2), "V32")
        both[:, 0] = digests[begin:end]
        both[:, 1] = table[numbers[begin:end]]
        digest.update(both.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where each row of the corpus comes from: its place in the run of all supply rows, -1 where nowhere."""

    place: I64
    unknown_homes: list[str]
    """Slices that rows name and the plan does not have, or whose content is gone."""
    sha_differs: I64
    """Rows of the corpus whose `image_sha256` is not that of the slice's row."""


def trace(evidence: Evidence, rows: CorpusRows, threads: int = 1) -> Lineage:
    """Finds the slice row of every corpus row by its digest, slice by slice, some at once."""
    place = np.full(len(rows.home), -1, np.int64)
    by_name: dict[tuple[str | None, str | None], int] = {
        (one.claim.source, one.claim.slice): n for n, one in enumerate(evidence.slices)
    }
    unknown: list[str] = []
    named: list[tuple[int, I64]] = []
    for home, here in _by_value(rows.home, len(rows.homes)):
        number = by_name.get(rows.homes[home])
        if number is None or evidence.slices[number].directory is None:
            unknown.append("/".join(str(part) for part in rows.homes[home]))
        else:
            named.append((number, here))

    def of_slice(task: tuple[int, I64]) -> I64:
        """Notes the places of one slice's rows; returns those whose hash differs."""
        number, here = task
        digests, sha = _slice_words(evidence.slices[number])
        found = _match(digests, rows.digest[here])
        known = here[found >= 0]
        found = found[found >= 0]
        if len(digests) == evidence.slices[number].claim.rows:
            place[known] = evidence.starts[number] + found
        return np.asarray(known[(sha[found] != rows.sha[known]).any(axis=1)], np.int64)

    differs = list(ahead(of_slice, named, threads))
    return Lineage(place, unknown, np.concatenate(differs) if differs else np.empty(0, np.int64))


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


def _slice_words(found: FoundSlice) -> tuple[U64, U64]:
    if found.directory is None:
        raise UnjudgedError(f"{found.claim.name}: its content is gone")
    path = found.directory / INDEX_FILE
    table = index_table(path, ("digest", "image_sha256"))
    try:
        return fixed_words(one_array(table, "digest")), hex_words(one_array(table, "image_sha256"))
    except ValueError as error:
        raise UnjudgedError(f"{path}: {error}") from error


def _match(table: U64, wanted: U64) -> I64:
    """Row of `table` that equals each row of `wanted`, -1 where none does. Rows of `table` are distinct."""
    if not len(table):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(table[:, 0])
    at = np.minimum(np.searchsorted(table[order, 0], wanted[:, 0]), len(table) - 1)
    found = order[at]
    return np.where((table[found] == wanted).all(axis=1), found, -1)
