"""`corpus.lock`: what a corpus was made from, to the byte; and beside it, what became of every item.

The lock is small and stands in git beside the catalogue. The items file is for the remote: a row group a slice, a
line an item with its identity, its rejects, and what the index says of its rows. Both hold no clock.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlm_assets.store.arrow_files import HashingFile, replace_file
from vlm_assets.store.slices import ItemEntry, RejectEntry, file_hash
from vlm_assets.store.sound_files import damage_named
from vlm_assets.words.errors import LockedError, Reject, RejectReason, StoreError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import FileEntry, Manifest
from vlm_assets.words.schema import INDEX_SCHEMA, Row

LOCK_FILE: Final = "corpus.lock"
LOCK_ITEMS_FILE: Final = "corpus.lock.items.parquet"

_REJECT: Final = pa.struct(
    [("record", pa.int64()), ("reason", pa.string()), ("detail", pa.string()), ("transient", pa.bool_())]
)
_ROW: Final = pa.struct(list(INDEX_SCHEMA))
LOCK_ITEM_SCHEMA: Final = pa.schema(
    [
        ("source", pa.string()), ("slice", pa.string()), ("key", pa.string()), ("identity", pa.string()),
        ("fetched", pa.bool_()), ("rejects", pa.list_(_REJECT)), ("rows", pa.list_(_ROW)),
        ("taken_down", pa.list_(pa.int64())),
    ]
)  # fmt: skip
"""`fetched` is False where an item was rejected whole. `taken_down`: record numbers of rows without content."""


class LockedSlice(BaseModel):
    """What a slice was when the corpus was locked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    content_hash: str
    items: int
    container: bool = False
    items_per_slice: int = 1
    renderer: str | None = None
    """Renderer identity of what was drawn for it."""
    values: dict[str, str] = Field(default_factory=dict)
    """By annotation, the hash of its values that filters read."""


class LockedSource(BaseModel):
    """A source when the corpus was locked: its pinned revision, and what turned it into bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    kind_version: int
    revision: str
    config_fingerprint: str
    buckets: dict[str, int] = Field(default_factory=dict)
    """Settled at the first listing, so an empty data root cannot find them."""
    slices: dict[str, LockedSlice]


class LockedTarget(BaseModel):
    """A sealed corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    inputs_hash: str
    root_hash: str
    rows_hash: str


class CorpusLock(Manifest):
    """`corpus.lock`."""

    type: Literal["lock"] = "lock"
    lock_version: Literal[1] = 1
    corpus: str
    product: str
    """Version of this program; below, what else decides bytes."""
    pyarrow: str
    packages: dict[str, str] = Field(default_factory=dict)
    """Versions of what decodes images and takes pages apart; older locks do not say."""
    rows_schema: int
    sources: dict[str, LockedSource]
    targets: dict[str, LockedTarget]
    takedowns: tuple[str, ...] = ()
    """Names of those in force: the rows that they cover are in no target."""
    items_file: FileEntry
    """Of `corpus.lock.items.parquet`."""

    def to_bytes(self) -> bytes:
        """Sorted, indented JSON without what is as a slice mostly is, and a line break at its end, for git."""
        content = {**self.model_dump(mode="json", exclude_defaults=True), "type": self.type}
        content["lock_version"] = self.lock_version
        return orjson.dumps(
            content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
        )

    @property
    def slices(self) -> list[tuple[str, str]]:
        """(source, slice) in the order of the items file."""
        return [(name, key) for name, source in sorted(self.sources.items()) for key in sorted(source.slices)]


def read_lock(path: Path) -> CorpusLock:
    """The lock in a file.

    Raises:
        StoreError: there is none, or it cannot be read.
    """
    try:
        return CorpusLock.from_bytes(path.read_bytes())
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; `vlm-assets lock` writes it") from None
    except ValidationError as error:
        raise StoreError(
            f"{path}: not a corpus.lock that this version reads: {_first(error)}; `vlm-assets lock` writes it anew, "
            "and one from git is restored with git checkout"
        ) from error


def _first(error: ValidationError) -> str:
    """Where the first thing is wrong, what it is, and how many more there are, on one line."""
    first, *more = error.errors(include_url=False)
    place = ".".join(map(str, first["loc"]))
    told = f"{place}: {first['msg']}" if place else str(first["msg"])
    return f"{told} (and {len(more)} more)" if more else told


@dataclass(frozen=True, slots=True)
class LockedItem:
    """What became of one item."""

    key: str
    identity: str
    fetched: bool
    rejects: tuple[Reject, ...]
    taken_down: frozenset[int]
    digests: Mapping[int, bytes]
    """Of its rows, by record number, in order."""
    _rows: pa.StructArray

    def rows(self) -> list[Row]:
        """What the index says of its rows, in order."""
        return list(self._rows.to_pylist())

    def row(self, record: int) -> Row:
        """What the index says of the row of a record."""
        return dict(self._rows[list(self.digests).index(record)].as_py())


class LockItemsWriter:
    """Writes an items file, slice by slice in the order of `CorpusLock.slices`; `entry` names it at the end."""

    def __init__(self, path: Path) -> None:
        self._file = HashingFile(path)
        self._writer = pq.ParquetWriter(self._file, LOCK_ITEM_SCHEMA, compression="zstd")
        self.entry: FileEntry | None = None

    def add(
        self,
        source: str,
        slice_key: str,
        ledger: Sequence[ItemEntry],
        rejects: Iterable[RejectEntry],
        index: pa.Table,
        taken_down: Mapping[str, Sequence[int]],
    ) -> None:
        """A slice by its ledgers and index; `taken_down`: record numbers by item key."""
        by_item: dict[str, list[dict[str, Any]]] = {}
        for one in rejects:
            told = {
                "record": one.record,
                "reason": str(one.reason),
                "detail": one.detail,
                "transient": one.transient,
            }
            by_item.setdefault(one.key, []).append(told)
        offsets = [0]
        for entry in ledger:
            offsets.append(offsets[-1] + entry.rows)
        columns = index.combine_chunks()
        rows = pa.StructArray.from_arrays(
            [
                _whole(columns.column(name), kind)
                for name, kind in zip(INDEX_SCHEMA.names, INDEX_SCHEMA.types, strict=True)
            ],
            fields=list(INDEX_SCHEMA),
        )
        arrays = [
            pa.array([source] * len(ledger), pa.string()),
            pa.array([slice_key] * len(ledger), pa.string()),
            pa.array([entry.key for entry in ledger], pa.string()),
            pa.array([entry.identity for entry in ledger], pa.string()),
            pa.array([entry.fetched for entry in ledger], pa.bool_()),
            pa.array(
                [by_item.get(entry.key, []) for entry in ledger], LOCK_ITEM_SCHEMA.field("rejects").type
            ),
            pa.ListArray.from_arrays(
                pa.array(offsets, pa.int32()), rows, type=LOCK_ITEM_SCHEMA.field("rows").type
            ),
            pa.array([list(taken_down.get(entry.key, ())) for entry in ledger], pa.list_(pa.int64())),
        ]
        self._writer.write_table(
            pa.Table.from_arrays(arrays, schema=LOCK_ITEM_SCHEMA), row_group_size=max(len(ledger), 1)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        self._file.close()
        self.entry = self._file.entry


def _whole(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    if column.num_chunks > 1:  # texts of more than 2 GiB in one slice
        raise StoreError(
            "a slice's index is too large for one row group of a lock; cut the source into more slices"
        )
    return column.chunk(0) if column.num_chunks else pa.array([], kind)


@dataclass(frozen=True)
class Locked:
    """A lock with its items file: what a locked build works on."""

    lock: CorpusLock
    items_path: Path

    @cached_property
    def _footer(self) -> pq.FileMetaData:
        """Parsed once: it grows with the slices, and each of them is asked for by itself."""
        with damage_named(self.items_path):
            return pq.read_metadata(self.items_path)

    @cached_property
    def _groups(self) -> dict[tuple[str, str], int]:
        with_items = [one for one in self.lock.slices if self.lock.sources[one[0]].slices[one[1]].items]
        return {one: number for number, one in enumerate(with_items)}

    def source(self, source: str) -> LockedSource:
        """A source of the lock.

        Raises:
            LockedError: it does not name that one.
        """
        try:
            return self.lock.sources[source]
        except KeyError:
            there = ", ".join(self.lock.sources)
            raise LockedError(f"source {source}: not in {LOCK_FILE}; there are: {there}") from None

    def items(self, source: str, slice_key: str) -> list[LockedItem]:
        """The items of a slice, in their order there.

        Raises:
            StoreError: the items file cannot be read, or is another lock's.
        """
        table = self._read(source, slice_key, LOCK_ITEM_SCHEMA.names)
        rows = [table.column("rows").combine_chunks()] if table.num_rows else []
        plain = table.drop_columns(["rows"]).to_pylist()
        with damage_named(self.items_path):
            return [_item(one, rows[0], number) for number, one in enumerate(plain)]

    def identities(self, source: str, slice_key: str) -> dict[str, str]:
        """Identities of its items by key, in their order there."""
        table = self._read(source, slice_key, ["key", "identity"])
        return {row["key"]: row["identity"] for row in table.to_pylist()}

    def taken_down_ids(self) -> Iterator[str]:
        """Ids of all rows that were taken down when the corpus was locked."""
        for source, key in self._groups:
            for item in self.items(source, key):
                yield from (item.row(record)["id"] for record in sorted(item.taken_down))

    def _read(self, source: str, slice_key: str, columns: list[str]) -> pa.Table:
        number = self._groups.get((source, slice_key))
        if number is None:
            return LOCK_ITEM_SCHEMA.empty_table().select(columns)
        try:
            with (
                damage_named(self.items_path),
                pq.ParquetFile(self.items_path, metadata=self._footer) as file,
            ):
                table = file.read_row_group(number, columns=columns)
                table.validate(full=True)
        except (FileNotFoundError, StoreError) as error:
            raise StoreError(f"{self.items_path}: not the items file of this lock: {error}") from error
        if table.schema.remove_metadata() != pa.schema([LOCK_ITEM_SCHEMA.field(name) for name in columns]):
            raise StoreError(f"{self.items_path}: not the items file of this lock: it has other columns")
        return table


def lock_path(root: DataRoot, name: str) -> Path:
    """Where a lock is kept for the runs that work by it, whatever becomes of the catalogue's; items beside it."""
    return root.path / ".catalogs" / f"{name}.lock"


def items_path(lock_file: Path) -> Path:
    """The items file beside a lock."""
    return lock_file.with_name(f"{lock_file.name}.items.parquet")


def keep_lock(root: DataRoot, lock_file: Path) -> str:
    """Keeps a lock with its items for runs; returns its name. Kept ones are left alone.

    Raises:
        StoreError: lock or items are missing, or the items are not those of the lock.
    """
    lock = read_lock(lock_file)
    path, source = lock_path(root, lock.version), items_path(lock_file)
    if not source.is_file():
        raise StoreError(
            f"{source}: no such file; it is published with the lock, and `vlm-assets lock` pushes it to the remote"
        )
    if path.is_file() and items_path(path).is_file():
        return lock.version
    path.parent.mkdir(exist_ok=True)
    if file_hash(source) != lock.items_file.blake3:
        raise StoreError(f"{source}: not the items file of {lock_file.name}; take both from one place")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.copyfile(source, temporary)
    temporary.replace(items_path(path))
    replace_file(path, lock.to_bytes())
    return lock.version


def kept_lock(root: DataRoot, name: str) -> Locked:
    """The lock of that name, for a run.

    Raises:
        StoreError: it is not kept here.
    """
    path = lock_path(root, name)
    return Locked(read_lock(path), items_path(path))


def _item(told: Mapping[str, Any], rows: pa.ListArray, number: int) -> LockedItem:
    rejects = tuple(
        Reject(
            told["key"], RejectReason(one["reason"]), one["detail"], one["record"], transient=one["transient"]
        )
        for one in told["rejects"]
    )
    own = rows[number].values
    digests = dict(zip(own.field("record").to_pylist(), own.field("digest").to_pylist(), strict=True))
    return LockedItem(
        told["key"], told["identity"], told["fetched"], rejects, frozenset(told["taken_down"]), digests, own
    )
