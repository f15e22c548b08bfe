"""Words of rows that are taken down, out of the listings on disk. Old item tables of their sources go with them."""

import logging
from typing import Final

from vlm_assets.ingest.taken_words import TakenWords, has_taken, said_at, taken_words, without_words
from vlm_assets.locks import hold_lock
from vlm_assets.store.listings import ItemTable, TableName, read_item_columns, read_listing, write_listing
from vlm_assets.store.met import record_met
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.transfer.taken_urls import TakenUrls
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import Listing

logger = logging.getLogger("vlm_assets.takedown")

_LOCK_WAIT_S: Final = 24 * 3600.0


def empty_listings(root: DataRoot) -> list[str]:
    """Empties listings of what every takedown on record covers; returns the sources whose tables changed or went."""
    changed = []
    for path in sorted(root.listings.glob("*.json")):
        source = path.stem
        with hold_lock(
            root.locks / f"listing.{source}", f"takedown in listing {source}", wait_s=_LOCK_WAIT_S
        ):
            taken = taken_words(root, source)
            if taken and _empty_listing(root, source, taken):
                changed.append(source)
    return changed


def emptied_listings(root: DataRoot) -> list[str]:
    """Sources whose listings here have lost words, be it in an earlier, cut run: the remote may have them still."""
    found = []
    for path in sorted(root.listings.glob("*.json")):
        taken = taken_words(root, path.stem)
        if taken.keys or taken.met or (taken.urls and _has_address(root, path.stem, taken)):
            found.append(path.stem)
    return found


def record_said(root: DataRoot) -> None:
    """Puts on record, as met, items at addresses that are taken down of which a listing still says something.

    So listings of sources that are listed no more, made by a program that did not look at addresses, are emptied too.
    """
    urls = TakenUrls(read_tombstones(root).whole_urls)
    for path in sorted(root.listings.glob("*.json")) if urls else ():
        listing = read_listing(root, path.stem, older=True)
        if listing is None:
            continue
        for key in listing.slices:
            try:
                items = read_item_columns(root, listing, key)
            except StoreError:  # it says nothing then
                continue
            record_met(root, path.stem, key, said_at(items, urls, f"{path.stem}/{key}"))


def _has_address(root: DataRoot, source: str, taken: TakenWords) -> bool:
    """Whether an item of the listing in force is at an address that is taken down."""
    listing = read_listing(root, source, older=True)
    try:
        return listing is not None and any(
            has_taken(read_item_columns(root, listing, key), taken.urls) for key in listing.slices
        )
    except StoreError:  # told when it was to be emptied
        return False


def _empty_listing(root: DataRoot, source: str, taken: TakenWords) -> bool:
    listing = read_listing(root, source, older=True)
    if listing is None:
        return False
    written = _write_emptied(root, listing, taken)
    current = read_listing(root, source, older=True)
    kept = {current.items_file} if current is not None else set()
    old = [path for path in root.listings.glob(f"{source}.*.items.arrow") if path.name not in kept]
    for path in old:  # what was listed before has the words still
        path.unlink(missing_ok=True)
    return written or (bool(old) and bool(taken.keys or taken.met))


def _write_emptied(root: DataRoot, listing: Listing, taken: TakenWords) -> bool:
    """Puts the listing in force with another item table, where one of its items says something of these rows."""
    order = sorted(listing.slices, key=lambda key: listing.slices[key].batch)
    name = TableName(listing.source)
    has_changed = False
    with ItemTable.beside(root, listing.source) as table:
        for key in order:
            try:
                before = read_item_columns(root, listing, key)
            except StoreError as error:
                logger.warning("%s; it says nothing then", error)
                return False
            after = without_words(before, taken)
            has_changed |= after is not before
            name.add(key, listing.slices[key].fingerprint, after)
            table.write(after)
        if not has_changed:
            return False
        entry = table.finish(str(name))
    write_listing(root, listing.model_copy(update={"items_file": str(name), "items_blake3": entry.blake3}))
    return True
