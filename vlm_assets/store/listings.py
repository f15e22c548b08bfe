"""Listings on disk: a JSON manifest, and beside it a table with one record batch of items a slice."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import orjson
import pyarrow as pa
from blake3 import blake3
from pydantic import ValidationError

from vlm_assets.store.arrow_files import ArrowFile, replace_file, sync_directory
from vlm_assets.store.sound_files import IndexFile
from vlm_assets.words.collector import collector_paused
from vlm_assets.words.errors import StoreError
from vlm_assets.words.item_columns import ItemColumns
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import SCHEMA_VERSION, FileEntry, Listing
from vlm_assets.words.records import Item

ITEM_SCHEMA = pa.schema(
    [("key", pa.string()), ("identity", pa.string()), ("payload", pa.string()), ("size_bytes", pa.int64())]
)


class ItemTable:
    """A listing's item table under way: one record batch a slice, in the order in which they are written."""

    def __init__(self, path: Path) -> None:
        """Grows at `path`, under a name that no listing has."""
        self._path = path
        self._file = ArrowFile(path, ITEM_SCHEMA, form="file")

    @classmethod
    @contextmanager
    def beside(cls, root: DataRoot, source: str) -> "Iterator[ItemTable]":
        """One in the folder of listings; gone at the end where it was not finished."""
        root.listings.mkdir(parents=True, exist_ok=True)
        for left in root.listings.glob(
            f".{source}.*.items.tmp"
        ):  # of a killed listing: the caller has the lock
            left.unlink(missing_ok=True)
        table = cls(root.listings / f".{source}.{os.getpid()}.items.tmp")
        try:
            yield table
        finally:
            table.abandon()

    def write(self, items: ItemColumns) -> None:
        """Adds a slice's items."""
        columns = [
            pa.array(items.keys, pa.string()),
            pa.array(items.identities, pa.string()),
            pa.array(items.payloads, pa.string()),
            pa.array(items.sizes, pa.int64()),
        ]
        self._file.write(pa.RecordBatch.from_arrays(columns, schema=ITEM_SCHEMA))

    def finish(self, name: str) -> FileEntry:
        """Puts the table under its name, whole and synced."""
        entry = self._file.finish()
        self._path.replace(self._path.with_name(name))
        sync_directory(self._path.parent)
        return entry

    def abandon(self) -> None:
        """Removes what is not finished."""
        self._file.abandon()


class TableName:
    """The name of an item table by all that it holds, slice by slice in their order."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._content = sha256()

    def add(self, key: str, fingerprint: str, items: ItemColumns) -> None:
        """Takes in a slice."""
        self._content.update(f"{key}\0{fingerprint}\0".encode())
        self._content.update(f"[{','.join(items.payloads)}]".encode())

    def __str__(self) -> str:
        """As a file's name."""
        return f"{self._source}.{blake3(self._content.digest()).hexdigest()[:12]}.items.arrow"


def read_item_columns(root: DataRoot, listing: Listing, slice_key: str) -> ItemColumns:
    """The items of one slice in canonical order, by column.

    Raises:
        StoreError: the item table is missing.
    """
    path = root.listings / listing.items_file
    try:
        batch = IndexFile(path, ITEM_SCHEMA).get_batch(listing.slices[slice_key].batch)
    except FileNotFoundError:
        raise StoreError(f"{path}: missing; list {listing.source} again") from None
    if any(column.null_count for column in batch.columns[:3]):
        raise StoreError(
            f"{path} is damaged: an item without key, identity or payload; list {listing.source} again"
        )
    return ItemColumns(*(batch.column(name).to_pylist() for name in ITEM_SCHEMA.names))


def read_items(root: DataRoot, listing: Listing, slice_key: str) -> list[Item]:
    """The items of one slice in canonical order.

    Where its table went since (a takedown emptied it), of the listing in force, if that says the same of the slice.

    Raises:
        StoreError: the item table is missing.
    """
    try:
        return list(read_item_columns(root, listing, slice_key))
    except StoreError:
        current = read_listing(root, listing.source)
        if current is None or current.items_file == listing.items_file:
            raise
        entry = current.slices.get(slice_key)
        if entry is None or entry.fingerprint != listing.slices[slice_key].fingerprint:
            raise
        return list(read_item_columns(root, current, slice_key))


def read_listing(root: DataRoot, source: str, *, older: bool = False) -> Listing | None:
    """The source's listing; None where it was never listed. `older`: one of schema 1 too, which says less.

    Raises:
        StoreError: there is one, and it cannot be read.
    """
    path = root.listing(source)
    try:
        with collector_paused():
            data = path.read_bytes()
            return _as_of_today(data) if older else Listing.from_bytes(data)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise StoreError(f"{path}: not a listing: {error}") from error


def _as_of_today(data: bytes) -> Listing:
    """What schema 2 added has its defaults, as in a migrated listing."""
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError:
        return Listing.from_bytes(data)
    if isinstance(content, dict) and content.get("schema_version") == 1:
        return Listing.model_validate_json(orjson.dumps({**content, "schema_version": SCHEMA_VERSION}))
    return Listing.from_bytes(data)


def write_listing(root: DataRoot, listing: Listing) -> None:
    """Puts the listing in force and removes tables of each kind older than the last two."""
    replace_file(root.listing(listing.source), listing.to_bytes())
    for kind in ("items.arrow", "left_out.parquet"):
        tables = sorted(root.listings.glob(f"{listing.source}.*.{kind}"), key=lambda p: p.stat().st_mtime)
        for old in tables[:-2]:
            if old.name not in listing.tables:
                old.unlink(missing_ok=True)
