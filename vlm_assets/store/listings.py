"""Listings on disk: a JSON manifest, and beside it a table with one record batch of items a slice."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson
import pyarrow as pa
from blake3 import blake3
from pydantic import ValidationError

from vlm_assets.store.arrow_files import ArrowFile, map_ipc_file, replace_file
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import FileEntry, Listing
from vlm_assets.words.records import Item

ITEM_SCHEMA = pa.schema(
    [("key", pa.string()), ("identity", pa.string()), ("payload", pa.string()), ("size_bytes", pa.int64())]
)


def write_items(path: Path, slices: Iterable[Sequence[Item]]) -> FileEntry:
    """Writes one record batch a slice, in the given order."""
    with ArrowFile(path, ITEM_SCHEMA, form="file") as file:
        for items in slices:
            columns = [
                pa.array([item.key for item in items], pa.string()),
                pa.array([item.identity for item in items], pa.string()),
                pa.array([orjson.dumps(dict(item.payload)).decode() for item in items], pa.string()),
                pa.array([item.size_bytes for item in items], pa.int64()),
            ]
            file.write(pa.RecordBatch.from_arrays(columns, schema=ITEM_SCHEMA))
        return file.finish()


def read_items(root: DataRoot, listing: Listing, slice_key: str) -> list[Item]:
    """The items of one slice in canonical order.

    Raises:
        StoreError: the item table is missing.
    """
    path = root.listings / listing.items_file
    try:
        batch = map_ipc_file(path).get_batch(listing.slices[slice_key].batch)
    except FileNotFoundError:
        raise StoreError(f"{path}: missing; list {listing.source} again") from None
    return [
        Item(row["key"], row["identity"], orjson.loads(row["payload"]), row["size_bytes"])
        for row in batch.to_pylist()
    ]


def read_listing(root: DataRoot, source: str) -> Listing | None:
    """The source's listing; None where it was never listed.

    Raises:
        StoreError: there is one, and it cannot be read.
    """
    path = root.listing(source)
    try:
        return Listing.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise StoreError(f"{path}: not a listing: {error}") from error


def write_listing(root: DataRoot, listing: Listing) -> None:
    """Puts the listing in force and removes tables of each kind older than the last two."""
    replace_file(root.listing(listing.source), listing.to_bytes())
    for kind in ("items.arrow", "left_out.parquet"):
        tables = sorted(root.listings.glob(f"{listing.source}.*.{kind}"), key=lambda p: p.stat().st_mtime)
        for old in tables[:-2]:
            if old.name not in listing.tables:
                old.unlink(missing_ok=True)


def items_file_name(source: str, content: bytes) -> str:
    """Name of an item table by what it holds."""
    return f"{source}.{blake3(content).hexdigest()[:12]}.items.arrow"
