"""Captions of files that are listed and not here yet, in an archive or among a release's assets.

Tables are read at listing, sidecars with their image.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from vlm_assets.archives.names import of_one_stem
from vlm_assets.captions.naming_tables import (
    NamingTable,
    as_unused,
    may_hold_captions,
    naming_tables,
    suspects,
)
from vlm_assets.captions.sidecars import match_sidecars, named_like
from vlm_assets.captions.trees import CaptionRule, Tree, caption_payload, tree_captions
from vlm_assets.sources._archives import among_others, beside_flags, loose_paths, tables_near, told_flags
from vlm_assets.sources._hints import unread_hints
from vlm_assets.words.caption_rows import beside_archives, sum_counts
from vlm_assets.words.errors import LeftOut, LeftOutReason
from vlm_assets.words.records import Item

_LOOKED_AT_TABLES: Final = 5
_LOOKED_AT_BYTES: Final = 16 * 2**20
"""No larger table is fetched for a hint alone."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """What upstream's files are: loose items, archives, neither."""

    items: list[Item]
    archives: list[Item]
    left_out: list[LeftOut]


@dataclass(frozen=True, slots=True)
class Said:
    """The same with what is said of them."""

    sorted: Sorted
    counts: Mapping[str, Any]
    companions: int = 0
    """Files that were joined to items."""
    wordless: Collection[str] | None = None
    """Keys of all loose images, where the catalogue asks for no words."""
    naming: Sequence[NamingTable] = ()
    """Tables that the catalogue does not name, of which it is known that they name images."""

    @property
    def captions_unused(self) -> int | None:
        """Caption rows or sidecars that name nothing."""
        unused: int | None = self.counts.get("name_nothing", self.counts.get("sidecars_unused"))
        return unused

    @property
    def word_keys(self) -> Mapping[str, str]:
        """Of the table that names most images, where the catalogue asks for no words and fewer files are sidecars."""
        if self.wordless is None or not self.naming:
            return {}
        sidecars = named_like([one.key for one in self.sorted.left_out], self.wordless)
        return self.naming[0].keys if self.naming[0].images >= len(sidecars) else {}

    @property
    def hints(self) -> list[str]:
        """A line for each sort of files that is not read."""
        return unread_hints(self.sorted.left_out, self.wordless, naming=self.naming)


def beside_of(item: Item) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Everything that goes with an item: key and payload of each."""
    for name in ("beside", "sidecars", "tables"):
        yield from item.payload.get(name, {}).items()


def may_speak(rule: CaptionRule, key: str) -> bool:
    """Whether `with_captions` is to know of a file: it holds words by the catalogue, or may be a table of such."""
    return rule.may_own(key) or may_hold_captions(key)


def with_captions(
    rule: CaptionRule,
    found: Sorted,
    speakers: Iterable[Item],
    read: Callable[[Item], BinaryIO],
    *,
    images: Collection[str],
    where: str,
    spool_dir: Path,
) -> Said:
    """The items with their captions. `speakers`: the files that `may_speak`; `images`: keys of loose items.

    What goes with an item stands in its payload with what its file's own payload says, under `sidecars`, `tables`
    or `beside`. Tables that the catalogue does not name, and that may be captions, are unused companions; small
    ones are looked into.

    Raises:
        SourceError: a table that cannot be read for certain, no table of the declared name, or one that names
            nothing.
    """
    speaker_of: dict[str, Item] = {}
    for one in speakers:
        speaker_of.setdefault(one.key, one)
    owner_of = {key: one for key, one in speaker_of.items() if rule.may_own(key)}
    said = _joined(rule, found, owner_of, read, images=images, where=where, spool_dir=spool_dir)
    pictures = set(images).difference(owner_of)
    beside = pictures.union(item.key for item in found.archives)
    looked_at = [
        key
        for key in sorted(suspects(said.sorted.left_out, beside))
        if key in speaker_of and (speaker_of[key].size_bytes or 0) <= _LOOKED_AT_BYTES
    ]
    naming = naming_tables(pictures, looked_at[:_LOOKED_AT_TABLES], lambda key: read(speaker_of[key]))
    left_out = as_unused(said.sorted.left_out, beside, naming)
    return replace(said, sorted=replace(said.sorted, left_out=left_out), naming=naming)


def _joined(
    rule: CaptionRule,
    found: Sorted,
    owner_of: Mapping[str, Item],
    read: Callable[[Item], BinaryIO],
    *,
    images: Collection[str],
    where: str,
    spool_dir: Path,
) -> Said:
    """The items with the captions that the catalogue names, out of files by their keys."""
    pictures = set(images).difference(owner_of)
    if rule.sidecars:
        return _with_sidecars(rule, found, owner_of, pictures)
    if not rule.tables or (not owner_of and found.archives):  # tables may still lie in the archives
        archives = [_with(item, {}, rule.told, "tables", {}) for item in found.archives]
        wordless = None if rule.told else pictures
        return Said(Sorted(found.items, archives, found.left_out), {}, wordless=wordless)
    tables_of = {item.key: tables_near(item.key, owner_of) for item in found.archives}
    shared = {table for tables in tables_of.values() for table in tables}
    tree = Tree(
        pictures,
        owner_of,
        lambda key: read(owner_of[key]),
        lambda key: f"{where}: {key}" if key else where,
        shared=shared,
    )
    with tree_captions(rule, tree, spool_dir) as captions:
        by_key = {item.key: item for item in found.items}
        items = []
        for item in found.items:
            said = captions.of(item.key) if item.key in pictures else []
            if item.key in captions.companions or captions.only_named_beside(item.key):
                continue
            payload, told = caption_payload(said)
            beside = {key: by_key[key] for one in said for key in one.beside if key != item.key}
            items.append(_with(item, payload, told, "beside", dict(sorted(beside.items()))))
        packed = [item.key for item in found.archives]
        crowded, alike = among_others(packed), of_one_stem(packed)
        archives = []
        named = (item.key for item in items if item.payload.get("captions") and item.key in pictures)
        loose = loose_paths(named, packed)
        for item in found.archives:
            flags = beside_flags(item.key, packed, captions.counts, pictures, loose)
            flags |= {"same_stem": True} if item.key in alike else {}
            told = rule.told + (told_flags(flags) if tables_of[item.key] else "")
            is_crowded = {"among_others": True} if item.key in crowded else {}
            tables = {key: owner_of[key] for key in tables_of[item.key]}
            archives.append(_with(item, {**is_crowded, **flags}, told, "tables", tables))
        left_out = _left_out(found, captions.companions | shared, owner_of)
        result = Sorted(items, archives, left_out)
        archives_told = beside_archives(table for tables in tables_of.values() for table in tables)
        return Said(result, sum_counts([captions.counts, archives_told]), _gone(found, result))


def _with_sidecars(
    rule: CaptionRule, found: Sorted, owners: Mapping[str, Item], images: Collection[str]
) -> Said:
    matched = match_sidecars(images, owners)
    used = frozenset(name for names in matched.by_image.values() for name in names)
    items = [
        _with(item, {}, rule.told if item.key in matched.by_image else "", "sidecars",
              {name: owners[name] for name in matched.by_image.get(item.key, ())})
        for item in found.items
        if item.key not in used
    ]  # fmt: skip
    archives = [_with(item, {}, rule.told, "tables", {}) for item in found.archives]
    counts = {
        "sidecars": len(used),
        "sidecars_unused": len(matched.unused),
        "images": len(images),
        "images_without_rows": len(images) - len(matched.by_image),
    }
    result = Sorted(items, archives, _left_out(found, used, owners))
    return Said(result, counts, _gone(found, result))


def _with(item: Item, payload: Mapping[str, Any], told: str, name: str, files: Mapping[str, Item]) -> Item:
    """The item with more in its payload, and in its identity what decides its words."""
    more = {name: {key: file.payload for key, file in files.items()}} if files else {}
    identity = [item.identity, *([told] if told else []), *(file.identity for file in files.values())]
    return replace(item, payload={**item.payload, **payload, **more}, identity="+".join(identity))


def _gone(before: Sorted, after: Sorted) -> int:
    """How many files are neither items any more nor left out: they go with items."""
    return len(before.items) - len(after.items) + len(before.left_out) - len(after.left_out)


def _left_out(found: Sorted, companions: Collection[str], owners: Collection[str]) -> list[LeftOut]:
    """What is neither item nor companion; what holds words of none is told as such."""
    return [
        replace(one, reason=LeftOutReason.UNUSED_COMPANION)
        if one.key in owners and one.reason is LeftOutReason.UNKNOWN_TYPE
        else one
        for one in found.left_out
        if one.key not in companions
    ]
