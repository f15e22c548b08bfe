"""Listing a source: its slices with a fingerprint each, under a pinned revision."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import orjson

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.ingest.labels import LabelCheck
from vlm_assets.ingest.locked import only_locked
from vlm_assets.ingest.summary import refresh_summary
from vlm_assets.ingest.taken_caches import clear_after_listing
from vlm_assets.ingest.taken_words import TakenWords, taken_words, without_words
from vlm_assets.installation.entry_files import entry_file
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.sources.registry import source_of
from vlm_assets.store.corpus_lock import Locked
from vlm_assets.store.left_out import (
    counts_of,
    left_out_file_name,
    left_out_lines,
    listed_examples,
    write_listed_left_out,
)
from vlm_assets.store.listings import ItemTable, TableName, read_listing, write_listing
from vlm_assets.words.contexts import ListContext
from vlm_assets.words.counts import so_many
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import (
    UNREAD,
    LeftOut,
    ListingShrunkError,
    RejectToleranceError,
    SourceError,
    told_why,
)
from vlm_assets.words.item_columns import ItemColumns
from vlm_assets.words.layout import DataRoot, key_hash, slice_key
from vlm_assets.words.manifest import Listing, ListingSlice
from vlm_assets.words.moving import moved, moving
from vlm_assets.words.records import Item, Listed, ListedSlice
from vlm_assets.words.tolerance import tolerance_for
from vlm_assets.words.unread import too_many_unread

logger = logging.getLogger("vlm_assets.listing")

_LOCK_WAIT_S: Final = 24 * 3600.0
"""For who lists the same source; a list of many millions, or an archive page by page, takes hours."""


@dataclass(frozen=True, slots=True)
class ListingChange:
    """What a listing changed: partition keys by kind of change, sorted."""

    listing: Listing
    added: tuple[str, ...]
    changed: tuple[str, ...]
    retired: tuple[str, ...]
    items_before: int
    left_out_examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MadeListing:
    """A listing with what was left out; its items are in their table by then."""

    listing: Listing
    left_out: list[LeftOut]

    @property
    def left_out_examples(self) -> list[str]:
        """The first of them, a line each."""
        return left_out_lines(self.left_out)


@named_disk_errors
def refresh_listing(
    installation: Installation,
    spec: SourceSpec,
    *,
    accept_shrink: bool = False,
    force: bool = False,
    locked: Locked | None = None,
) -> ListingChange:
    """Lists a source and puts the listing in force. An unchanged listing is not written.

    `locked`: upstream at the locked revision, in the locked buckets, and of it only what is locked.

    Raises:
        SourceError: upstream cannot be listed; the old listing stays in force.
        ListingShrunkError: more than `shrink_tolerance` of the items are gone, and that was not accepted.
    """
    root = installation.root
    with hold_lock(root.locks / f"listing.{spec.name}", f"listing {spec.name}", wait_s=_LOCK_WAIT_S):
        previous = read_listing(root, spec.name)
        with ItemTable.beside(root, spec.name) as table:
            made = _list(
                installation, spec, previous, root.cache_of(spec.name), table, force=force, locked=locked
            )
            listing = made.listing
            if previous is not None and not accept_shrink and locked is None:
                _guard_shrink(spec, previous, listing)
            if previous is None or listing.to_bytes() != previous.to_bytes():
                listing = _write(root, made, table)
            else:
                root.listing(spec.name).touch()  # when it was last looked at: what a plan says of its age
        clear_after_listing(root, spec.name)
        refresh_summary(root, spec.name, listing)
        change = _change(previous, listing, listed_examples(root, listing))
    logger.info(
        "%s: %d slices, %d items at revision %s (%d added, %d changed, %d retired)",
        spec.name, len(listing.slices), listing.items, listing.revision,
        len(change.added), len(change.changed), len(change.retired),
    )  # fmt: skip
    return change


def list_without_writing(
    installation: Installation, spec: SourceSpec, cache_dir: Path, previous: Listing | None = None
) -> MadeListing:
    """What `refresh_listing` would put in force; leaves nothing but `cache_dir` behind.

    `previous`: a listing that gives the number of buckets where nothing is listed here, as the remote's.

    Raises:
        SourceError: upstream cannot be listed.
    """
    previous = read_listing(installation.root, spec.name) or previous
    return _list(installation, spec, previous, cache_dir, None, force=False)


def list_items(
    installation: Installation, spec: SourceSpec, cache_dir: Path, buckets: Mapping[str, int]
) -> dict[str, Sequence[Item]]:
    """What upstream has now: items by partition key, in these buckets. Writes nothing but `cache_dir`.

    Raises:
        SourceError: upstream cannot be listed.
    """
    context = ListContext(
        settings=installation.settings,
        cache_dir=cache_dir,
        locks_dir=installation.root.locks,
        previous_buckets=buckets,
    )
    with moving(f"listing {spec.name}"):
        listed = source_of(spec.kind).list(spec, context)
        return {slice_key(one.name): one.items for one in listed.slices}


def _write(root: DataRoot, made: MadeListing, table: ItemTable) -> Listing:
    """Writes the tables, then puts the listing in force."""
    listing = made.listing
    hashes = {"items_blake3": table.finish(listing.items_file).blake3}
    if listing.left_out_file:
        path = root.listings / listing.left_out_file
        path.unlink(missing_ok=True)
        hashes["left_out_blake3"] = write_listed_left_out(path, made.left_out).blake3
    listing = listing.model_copy(update=hashes)
    write_listing(root, listing)
    return listing


def _list(
    installation: Installation,
    spec: SourceSpec,
    previous: Listing | None,
    cache_dir: Path,
    table: ItemTable | None,
    *,
    force: bool,
    locked: Locked | None = None,
) -> MadeListing:
    """Lists, items into `table` (None: nowhere)."""
    source = source_of(spec.kind)
    before = previous if locked is None else locked.source(spec.name)
    taken = taken_words(installation.root, spec.name)
    config = _config_told(installation, spec)
    allowed = installation.settings.allow_private_hosts
    told = sha256(b"locked").hexdigest() if locked is not None else _listed_as(config, spec, taken, allowed)
    keeps = previous is not None and previous.listed_as == told and not (force or locked)
    context = ListContext(
        settings=installation.settings,
        cache_dir=cache_dir,
        locks_dir=installation.root.locks,
        previous_buckets=before.buckets if before else {},
        previous_revision=before.revision if before else None,
        keeps_revision=previous.revision if previous is not None and keeps else None,
        force=force,
    )
    with moving(f"listing {spec.name}"):
        if locked is None:
            listed = source.list(spec, context)
        else:
            pinned = spec.at_revision(locked.source(spec.name).revision)
            listed = only_locked(source.list(pinned, context), locked, spec.name)
    if listed.unchanged and previous is not None:
        return MadeListing(previous, [])
    assembly = _Assembly(spec, config, taken, table)
    with moving(f"listing {spec.name}: items"):
        made = assembly.made(listed, previous, source.version, told)
    _tell(spec, made.listing, listed.hints)
    _check_tolerance(installation, spec, made, is_listed=previous is not None)
    return made


def is_listed_so(installation: Installation, spec: SourceSpec, listing: Listing) -> bool:
    """Whether a listing was made under the settings and catalogue of now; upstream is not looked at."""
    taken = taken_words(installation.root, spec.name)
    told = _config_told(installation, spec)
    return listing.listed_as == _listed_as(told, spec, taken, installation.settings.allow_private_hosts)


def _config_told(installation: Installation, spec: SourceSpec) -> str:
    formats = ",".join(installation.catalog.corpus.formats)
    return config_fingerprint(installation, spec, source_of(spec.kind).version) + formats


def _listed_as(config: str, spec: SourceSpec, taken: TakenWords, allowed: Sequence[str]) -> str:
    """Of all that a listing depends on besides upstream; another after a takedown."""
    hosts = "".join(f"\0{host}" for host in allowed)  # what a listing says of private ones
    down = hosts + "".join(f"\0{key}" for key in sorted(taken.keys | taken.met.keys()))
    return sha256(f"{config}\0{spec.model_dump_json()}{down}".encode()).hexdigest()


def _tell(spec: SourceSpec, listing: Listing, hints: Sequence[str]) -> None:
    """Logs what a person should know of a listing before anything is fetched."""
    if listing.left_out:
        told = ", ".join(f"{reason} {count}" for reason, count in listing.left_out.items())
        logger.info("%s: left out: %s", spec.name, told)
    for hint in hints:
        logger.warning("%s: %s", spec.name, hint)


def _check_tolerance(
    installation: Installation, spec: SourceSpec, made: MadeListing, *, is_listed: bool
) -> None:
    """Returns where the share of files that nobody can read is no larger than the source tolerates.

    A listing with containers is not judged: nobody knows yet how many records they hold.

    Raises:
        RejectToleranceError: it is larger; counts them by suffix and names the first, hints before it.
    """
    unread = [one for one in made.left_out if one.reason in UNREAD]
    total = made.listing.items + len(unread)
    containers = any(one.container for one in made.listing.slices.values())
    told = too_many_unread([one.key for one in unread], total, spec.tolerance)
    if containers or not told:
        return
    hints = "".join(f"{hint}. " for hint in made.listing.hints)
    stays = "; the old listing stays in force" if is_listed else ""
    where = entry_file(installation.catalog_dir, spec.name) or "the catalogue"
    raise RejectToleranceError(
        f"source {spec.name}: {hints}{told}{stays}. First: {unread[0].key}: "
        f"{told_why(unread[0].reason, unread[0].detail)}. Take them away, exclude them, or write "
        f"`reject_tolerance: {tolerance_for(len(unread), total)}` to its entry in {where}."
    )


def byte_config(installation: Installation, spec: SourceSpec, kind_version: int) -> dict[str, Any]:
    """Everything of settings and catalogue that changes bytes of an unchanged item, but for `formats`."""
    settings = installation.settings
    limits = {"max_pixels": settings.max_pixels, "max_image_bytes": settings.max_image_bytes}
    return {"kind": spec.kind, "kind_version": kind_version, **limits, **spec.byte_config()}


def config_fingerprint(installation: Installation, spec: SourceSpec, kind_version: int) -> str:
    """sha256 hex over `byte_config`."""
    config = byte_config(installation, spec, kind_version)
    return sha256(orjson.dumps(config, option=orjson.OPT_SORT_KEYS)).hexdigest()


class _Assembly:
    """Slices on their way into a listing and its item table; one is in memory where a kind gives one at a time."""

    def __init__(self, spec: SourceSpec, config: str, taken: TakenWords, table: ItemTable | None) -> None:
        self._spec = spec
        self._config = config
        self._taken = taken
        self._table = table
        self._entries: dict[str, ListingSlice] = {}
        self._name = TableName(spec.name)
        self._labels = LabelCheck(spec)

    def made(self, listed: Listed, previous: Listing | None, version: int, listed_as: str) -> MadeListing:
        """The listing of all that was listed.

        Raises:
            SourceError: two slices of one name, an item twice; labels that cannot be.
        """
        for key, one in _in_order(listed.slices):
            self._add(key, one)
            moved(len(one.items))
        self._labels.check()
        left_out = sorted(listed.left_out, key=lambda one: (one.key, one.reason, one.detail))
        return MadeListing(
            _listing(
                self._spec, listed, left_out, dict(sorted(self._entries.items())), str(self._name),
                previous, version, listed_as,
            ),
            left_out,
        )  # fmt: skip

    def _add(self, key: str, one: ListedSlice) -> None:
        if key in self._entries:
            raise SourceError(
                f"source {self._spec.name}: two slices are named {one.name!r}; rename one, or bucket the items"
            )
        told = _canonical(self._spec, one)
        self._labels.see(one.told_by_keys, told, container=one.container)
        items = without_words(told, self._taken)
        entry = self._entries[key] = ListingSlice(
            name=one.name,
            fingerprint=items_fingerprint(self._config, one, items),
            items=len(items),
            size_bytes=None if None in items.sizes else sum(size or 0 for size in items.sizes),
            container=one.container,
            items_per_slice=max(one.items_per_slice, 1),
            requests=None if one.requests == len(items) else one.requests,
            batch=len(self._entries),
        )
        self._name.add(key, entry.fingerprint, items)
        if self._table is not None:
            self._table.write(items)


def _in_order(slices: Iterable[ListedSlice]) -> Iterator[tuple[str, ListedSlice]]:
    """Slices by partition key; those that a kind gives one at a time in the order that it gives them."""
    keyed = ((slice_key(one.name), one) for one in slices)
    return iter(sorted(keyed, key=itemgetter(0))) if isinstance(slices, Sequence) else keyed


def _listing(
    spec: SourceSpec,
    listed: Listed,
    left_out: Sequence[LeftOut],
    entries: dict[str, ListingSlice],
    items_file: str,
    previous: Listing | None,
    version: int,
    listed_as: str,
) -> Listing:
    known = {*(previous.slices if previous else ()), *(previous.retired if previous else ())}
    left_out_file = left_out_file_name(spec.name, left_out)
    known_hashes = previous.tables if previous else {}
    return Listing(
        source=spec.name,
        kind=spec.kind,
        kind_version=version,
        revision=listed.revision,
        buckets=dict(listed.buckets),
        attributes=dict(listed.attributes),
        items_file=items_file,
        items_blake3=known_hashes.get(items_file, ""),
        slices=entries,
        retired=tuple(sorted(known - set(entries))),
        upstream=listed.upstream,
        companions=None if listed.upstream is None else listed.companions,
        left_out=counts_of(left_out),
        left_out_file=left_out_file,
        left_out_blake3=known_hashes.get(left_out_file, ""),
        captions_unused=listed.captions_unused,
        hints=tuple(listed.hints),
        listed_as=listed_as,
    )


def _canonical(spec: SourceSpec, one: ListedSlice) -> ItemColumns:
    """Items in row order: containers by name, loose ones by hash (then name)."""
    if isinstance(one.items, ItemColumns):  # in that order, each key once
        return one.items
    keys = [item.key for item in one.items]
    if len(set(keys)) != len(keys):
        twice = sorted({key for key in keys if keys.count(key) > 1})[:3] if len(keys) < 10_000 else []
        raise SourceError(f"source {spec.name}, slice {one.name}: items listed twice: {twice}")
    if one.container:
        return ItemColumns.of(sorted(one.items, key=lambda item: item.key))
    return ItemColumns.of(sorted(one.items, key=lambda item: (key_hash(item.key), item.key)))


def items_fingerprint(config: str, one: ListedSlice, items: Sequence[Item]) -> str:
    """sha256 hex over the configuration, `formats` included, and the items' identities in canonical order."""
    digest = sha256(f"{config}\0{one.container}\0{one.items_per_slice}\n".encode())
    if isinstance(items, ItemColumns):
        pairs: Iterable[tuple[str, str]] = zip(items.keys, items.identities, strict=True)
    else:
        pairs = ((item.key, item.identity) for item in items)
    digest.update("".join([f"{key}\0{identity}\n" for key, identity in pairs]).encode())
    return digest.hexdigest()


def _guard_shrink(spec: SourceSpec, previous: Listing, listing: Listing) -> None:
    before, now = previous.items, listing.items
    if now < before * (1 - spec.shrink_tolerance):
        raise ListingShrunkError(
            f"source {spec.name}: {so_many(now, 'item')} listed, {before} before; that is more than "
            f"{spec.shrink_tolerance:.0%} gone (shrink_tolerance). The old listing stays in force. "
            f"If it is meant: vlm-assets build --source {spec.name} --accept-shrink"
        )


def _change(previous: Listing | None, listing: Listing, examples: Sequence[str]) -> ListingChange:
    old = previous.slices if previous else {}
    return ListingChange(
        listing=listing,
        added=tuple(key for key in listing.slices if key not in old),
        changed=tuple(
            key
            for key, new in listing.slices.items()
            if key in old and old[key].fingerprint != new.fingerprint
        ),
        retired=tuple(key for key in listing.retired if key in old),
        items_before=previous.items if previous else 0,
        left_out_examples=tuple(examples),
    )
