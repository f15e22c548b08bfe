"""What the remote lacks of listings and catalogue snapshots: the small files that all else is made from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from vlm_assets.ingest.taken_words import taken_words, without_words
from vlm_assets.remote.bucket import Bucket, open_remote
from vlm_assets.remote.inventory import Inventory
from vlm_assets.remote.memory import Memory
from vlm_assets.remote.names import CATALOGS, LISTINGS
from vlm_assets.remote.push import Push, Write, small_write
from vlm_assets.settings import Settings
from vlm_assets.store.listings import read_item_columns
from vlm_assets.words.errors import RemoteError, StoreError, TakenDownError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import FileEntry, Listing


@dataclass(frozen=True, slots=True)
class ListingPushes:
    """Plans what the remote lacks of listings. `take_over`: also over one that this machine never had."""

    bucket: Bucket
    memory: Memory
    inventory: Inventory
    root: DataRoot
    take_over: bool = False

    def plan(self, path: Path) -> Push:
        """What the remote lacks of the listing in that file: its tables, then the listing.

        Raises:
            StoreError: not a listing, or its tables are damaged.
            TakenDownError: it still has words of what was taken down.
        """
        key, data = f"{LISTINGS}{path.name}", path.read_bytes()
        try:
            listing = Listing.from_bytes(data)
        except ValidationError as error:
            raise StoreError(f"{path}: not a listing: {error}") from error
        lacking = []
        for name, digest in listing.tables.items():
            table = path.parent / name
            entry = FileEntry(size_bytes=_size(table), blake3=digest)
            if not self.inventory.holds(entry.blake3, entry.size_bytes):
                lacking.append((table, entry))
        write = self._write(key, data)
        push = Push(key, tuple(lacking), (write,) if write else ())
        if not push.empty:
            self._refuse_taken_down(listing)
        return push

    def _refuse_taken_down(self, listing: Listing) -> None:
        taken = taken_words(self.root, listing.source)
        for slice_key in listing.slices if taken else ():
            items = read_item_columns(self.root, listing, slice_key)
            if without_words(items, taken) is not items:
                raise TakenDownError(
                    f"listing {listing.source}: still has words of records that were taken down; "
                    "vlm-assets takedown --finish empties it"
                )

    def _write(self, key: str, data: bytes) -> Write | None:
        write = small_write(self.inventory, self.memory, key, data)
        if write is not None and write.new and self.inventory.tag(key) is not None:
            if self.take_over:
                return Write(key, data)
            content = self.bucket.get(key)
            if content is not None and self._had(content.data):
                return Write(key, data, replaces=content.etag)
        return write

    def _had(self, data: bytes) -> bool:
        """Whether this machine once had a listing in force, by its item table; the last two are kept."""
        try:
            return (self.root.listings / Listing.from_bytes(data).items_file).is_file()
        except ValidationError:
            return False


def read_remote_listing(settings: Settings, source: str) -> Listing | None:
    """The source's listing as the remote has it; None where it has none.

    Raises:
        RemoteError: the remote does not answer, or it is not a listing.
    """
    key = f"{LISTINGS}{source}.json"
    content = open_remote(settings).get(key)
    try:
        return None if content is None else Listing.from_bytes(content.data)
    except ValidationError as error:
        raise RemoteError(f"{key} at the remote is not a listing: {error}") from error


def plan_catalogs(root: DataRoot, inventory: Inventory) -> Iterator[Push]:
    """The catalogue snapshots that the remote lacks; one that it has is an empty push."""
    for path in sorted((root.path / ".catalogs").glob("*.json")):
        key = f"{CATALOGS}{path.name}"
        lacking = inventory.tag(key) is None
        yield Push(key, writes=(Write(key, path.read_bytes()),) if lacking else ())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
