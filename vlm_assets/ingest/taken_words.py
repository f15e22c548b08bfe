"""Words of records that were taken down, out of the items of listings: upstream's own lists still have them.

Identities hold no words, so what is emptied here makes no slice due.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from vlm_assets.store.met import covered_records
from vlm_assets.store.schema_1 import identity_without_words
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.store.versions import current_version
from vlm_assets.transfer.taken_urls import TakenUrls
from vlm_assets.words.item_columns import ItemColumns
from vlm_assets.words.layout import DataRoot, sample_id
from vlm_assets.words.records import Item

_CAPTIONS: Final = "captions"
_ROWS: Final = "rows"
_NUMBER: Final = re.compile(r"#(?:caption=)?[0-9]+$")


@dataclass(frozen=True, slots=True)
class TakenWords:
    """Of which records of a source nothing is said: of these keys, as ids have them, and at these addresses."""

    keys: frozenset[str] = frozenset()
    met: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Keys of records of which nothing is said as long as their item has one of these identities."""
    urls: TakenUrls = field(default_factory=lambda: TakenUrls(()))

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.keys or self.met or self.urls)

    def covers(self, key: str, item: Item) -> bool:
        """Whether nothing is said of the record with this key, of that item."""
        return key in self.keys or identity_without_words(item.identity) in self.met.get(key, ())


def taken_words(root: DataRoot, source: str) -> TakenWords:
    """Of what nothing is said: rows by id, items whose image is covered in a committed slice, addresses.

    Raises:
        StoreError: a takedown or an index cannot be read.
    """
    takedowns = read_tombstones(root)
    met = dict(takedowns.met)
    folder = root.source(source)
    if takedowns.image_sha256 and folder.is_dir():
        for link in sorted(path for path in folder.iterdir() if path.is_symlink()):
            version = current_version(link)
            if version is not None:
                for one, identity in covered_records(version, takedowns.image_sha256).items():
                    met[one] = met.get(one, frozenset()) | {identity}
    prefix = f"{source}/"
    return TakenWords(
        frozenset(_key(one) for one in takedowns.ids if one.startswith(prefix)),
        {_key(one): found for one, found in met.items() if one.startswith(prefix)},
        TakenUrls(takedowns.whole_urls),
    )


def _key(row_id: str) -> str:
    return row_id.split("/", 2)[2]


def without_words(items: ItemColumns, taken: TakenWords) -> ItemColumns:
    """The items, without what they say of records that are taken; the same object where that is nothing."""
    if not taken:
        return items
    emptied = {
        place: after
        for place in _places(items, taken)
        if (after := _emptied(before := items[place], taken)) is not before
    }
    if not emptied:
        return items
    payloads, identities = list(items.payloads), list(items.identities)
    for place, item in emptied.items():
        payloads[place] = orjson.dumps(dict(item.payload)).decode()
        identities[place] = item.identity
    return replace(items, payloads=payloads, identities=identities)


def is_taken(item: Item, taken: TakenUrls) -> bool:
    """Whether a takedown names an address that the item is fetched from: `url` or one of `urls` in its payload."""
    if not taken:
        return False
    urls = [item.payload.get("url"), *item.payload.get("urls", ())]
    return any(isinstance(url, str) and url in taken for url in urls)


def has_taken(items: ItemColumns, taken: TakenUrls) -> bool:
    """Whether one of the items is at an address that a takedown names."""
    return next(_at_addresses(items, taken), None) is not None


def said_at(items: ItemColumns, taken: TakenUrls, slice_name: str) -> dict[str, str]:
    """Ids, with the identities of their items, of records at these addresses of which something is said."""
    return {
        f"{slice_name}/{key}": identity_without_words(item.identity)
        for item in _at_addresses(items, taken)
        for key in words_left(item)
    }


def _at_addresses(items: ItemColumns, taken: TakenUrls) -> Iterator[Item]:
    for place, payload in enumerate(items.payloads):
        if taken.may_stand_in(payload) and is_taken(item := items[place], taken):
            yield item


def words_left(item: Item) -> list[str]:
    """Keys, as ids have them, of the records of which the item says something."""
    return [
        key
        for name in (_CAPTIONS, _ROWS)
        if (entries := item.payload.get(name))
        for key, entry in zip(_keys(item.key, name, len(entries)), entries, strict=True)
        if _no_words(name, entry) != entry
    ]


def _places(items: ItemColumns, taken: TakenWords) -> Iterator[int]:
    """Items that may say something of what is taken."""
    bases = {_base(one) for one in (*taken.keys, *taken.met)}
    for place, (key, payload) in enumerate(zip(items.keys, items.payloads, strict=True)):
        if (bases and _as_in_ids(key) in bases) or (taken.urls and taken.urls.may_stand_in(payload)):
            yield place


def _base(record: str) -> str:
    """The item's key in a record's, both as ids have them."""
    return _NUMBER.sub("", record)


def _as_in_ids(key: str) -> str:
    return sample_id("", "", key).removeprefix("//")


def _emptied(item: Item, taken: TakenWords) -> Item:
    whole = is_taken(item, taken.urls)
    changed = {
        name: [_no_words(name, entry) if gone else entry for entry, gone in zip(entries, down, strict=True)]
        for name in (_CAPTIONS, _ROWS)
        if (entries := item.payload.get(name))
        and any(down := [whole or taken.covers(key, item) for key in _keys(item.key, name, len(entries))])
    }
    if not changed:
        return item
    new = replace(item, payload={**item.payload, **changed}, identity=identity_without_words(item.identity))
    return item if new == item else new  # it may be empty already


def _keys(item: str, name: str, count: int) -> Iterator[str]:
    """Keys of the records that the entries give, as ids have them."""
    for number in range(count):
        of_several = f"{item}#caption={number + 1}" if name == _CAPTIONS else f"{item}#{number}"
        yield _as_in_ids(item if count == 1 else of_several)


def _no_words(name: str, entry: Any) -> Any:
    """What is left of an entry: which images a caption names; the declared hash and the label of a row of a list."""
    if name == _CAPTIONS and isinstance(entry, list):  # text and other columns, as schema 1 had it
        return [None, {}]
    if name == _CAPTIONS:
        return {key: value for key, value in entry.items() if key == "images"}
    return [None, entry[1], entry[2], None]
