"""Words of records that were taken down, out of the items of listings: upstream's own lists still have them.

Identities hold no words, so what is emptied here makes no slice due.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import orjson

from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.store.taken_down import covered_rows, read_index
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.store.versions import current_version
from vlm_assets.words.item_columns import ItemColumns
from vlm_assets.words.layout import DataRoot, sample_id
from vlm_assets.words.records import Item

_CAPTIONS: Final = "captions"
_ROWS: Final = "rows"
_NUMBER: Final = re.compile(r"#(?:caption=)?[0-9]+$")


def taken_keys(root: DataRoot, source: str) -> frozenset[str]:
    """Keys, as ids have them, of a source's rows that are taken down: by id, or for an image in a committed slice.

    Raises:
        StoreError: a takedown or an index cannot be read.
    """
    takedowns = read_tombstones(root)
    found = {one for one in takedowns.ids if one.startswith(f"{source}/")}
    folder = root.source(source)
    if takedowns.image_sha256 and folder.is_dir():
        for link in sorted(path for path in folder.iterdir() if path.is_symlink()):
            version = current_version(link)
            if version is not None:
                rows = covered_rows(version / INDEX_FILE, frozenset(), takedowns.image_sha256)
                if len(rows):
                    found.update(
                        read_index(version / INDEX_FILE, ("id",)).column("id").take(rows).to_pylist()
                    )
    return frozenset(one.split("/", 2)[2] for one in found)


def without_words(items: ItemColumns, taken: frozenset[str]) -> ItemColumns:
    """The items, without what they say of records with one of these keys; the same object where that is nothing."""
    if not taken:
        return items
    bases = {_base(one) for one in taken}
    emptied = {
        place: after
        for place, key in enumerate(items.keys)
        if _as_in_ids(key) in bases and (after := _emptied(before := items[place], taken)) is not before
    }
    if not emptied:
        return items
    payloads = list(items.payloads)
    for place, item in emptied.items():
        payloads[place] = orjson.dumps(dict(item.payload)).decode()
    return replace(items, payloads=payloads)


def _base(record: str) -> str:
    """The item's key in a record's, both as ids have them."""
    return _NUMBER.sub("", record)


def _as_in_ids(key: str) -> str:
    return sample_id("", "", key).removeprefix("//")


def _emptied(item: Item, taken: frozenset[str]) -> Item:
    changed = {
        name: [_no_words(name, entry) if gone else entry for entry, gone in zip(entries, down, strict=True)]
        for name in (_CAPTIONS, _ROWS)
        if (entries := item.payload.get(name))
        and any(down := [key in taken for key in _keys(item.key, name, len(entries))])
    }
    payload = {**item.payload, **changed}
    return item if payload == item.payload else replace(item, payload=payload)  # it may be empty already


def _keys(item: str, name: str, count: int) -> Iterator[str]:
    """Keys of the records that the entries give, as ids have them."""
    for number in range(count):
        of_several = f"{item}#caption={number + 1}" if name == _CAPTIONS else f"{item}#{number}"
        yield _as_in_ids(item if count == 1 else of_several)


def _no_words(name: str, entry: Any) -> Any:
    """What is left of an entry: which images a caption names; the declared hash and the label of a row of a list."""
    if name == _CAPTIONS:
        return {key: value for key, value in entry.items() if key == "images"}
    return [None, entry[1], entry[2], None]
