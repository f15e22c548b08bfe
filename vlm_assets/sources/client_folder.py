"""`client_folder`: image files and archives in a folder tree, with texts beside them or in one metadata file."""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

from vlm_assets.archives.names import is_image_name, is_opened, is_unread_archive, of_one_stem
from vlm_assets.captions.keys import CaptionKeys
from vlm_assets.captions.naming_tables import as_unused, naming_tables
from vlm_assets.captions.samples import caption_events
from vlm_assets.captions.trees import Caption, CaptionRule, Tree, caption_payload, tree_captions
from vlm_assets.catalog.place_forms import PlaceForm
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.sources._archives import (
    PathGlobs,
    among_others,
    archive_slices,
    beside_flags,
    loose_paths,
    tables_near,
)
from vlm_assets.sources._data_files import (
    ROWS,
    DataFile,
    check_words,
    data_events,
    data_format,
    data_item,
    look,
)
from vlm_assets.sources._folder_archives import (
    FolderArchive,
    archive_events,
    archive_item,
    find_archives,
    incomplete_left_out,
    name_hints,
)
from vlm_assets.sources._folder_walk import FolderWalk
from vlm_assets.sources._held_files import HeldFiles
from vlm_assets.sources._hints import unread_hints
from vlm_assets.sources.protocol import Obtained, Requests, Traits
from vlm_assets.transfer.files import FileHashes
from vlm_assets.words.caption_rows import beside_archives, sum_counts
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import LeftOut, LeftOutReason, Reject, SourceError
from vlm_assets.words.layout import bucket_name, bucket_of
from vlm_assets.words.records import Event, Item, Listed, ListedSlice, Record, RecordImage

_ROOT_SLICE: Final = "root"
_FILES_PER_SLICE: Final = 10_000
_HASHES: Final = "sha256.db"


class ClientFolderSpec(CaptionKeys, SourceSpec):
    """Keys of a client folder. `include` and `exclude` are globs over the relative path, on into archives.

    Files that hold the images' words need not be included.
    """

    PLACE: ClassVar[PlaceForm] = PlaceForm(archive=True)

    path: Path
    """The folder; relative to the catalogue."""
    include: tuple[str, ...] = ("*",)
    """Globs over the relative path."""
    exclude: tuple[str, ...] = ()
    """Globs that take files out again."""
    files_per_slice: int | None = None
    """Cuts the folder into buckets of so many files; unset: a top folder is a slice."""
    follow_links: bool = False
    """Takes in what links lead to outside the folder. Only for folders in which nobody else may write."""

    @property
    def globs(self) -> PathGlobs:
        """`include` and `exclude`."""
        return PathGlobs(self.include, self.exclude)


class ClientFolder:
    """A slice is a top folder; or a bucket of files, where there are no folders or `files_per_slice` is set.

    An archive or data file is a slice of its own; more than `ARCHIVE_SLICES` share buckets.
    """

    kind: ClassVar[str] = "client_folder"
    version: ClassVar[int] = 2
    spec_type: ClassVar[type[SourceSpec]] = ClientFolderSpec
    traits: ClassVar[Traits] = Traits(
        requests=Requests.NONE,
        renders_pages=False,
        memory_mib=8_192,
        badges=frozenset(),
        obtained=Obtained.PRIVATE,
    )

    def list(self, spec: ClientFolderSpec, context: ListContext) -> Listed:
        """Every image, archive and data file, with (path, size, sha256) as its identity; all others are on record.

        A file is an image by its suffix, or by its first bytes; Parquet and Arrow where their first rows hold images.

        Raises:
            SourceError: the folder is missing or empty; its texts cannot be read for certain, or name nothing.
        """
        walk = FolderWalk(spec.name, spec.path, follow_links=spec.follow_links)
        rule = spec.caption_rule()
        archives, packed = _sort_out(spec, walk)
        names = {key: name for key, name in walk.files.items() if key not in walk.out and key not in packed}
        owners = {key for key in names if rule.may_own(key)}
        loose = names.keys() - owners
        images = {key for key in loose if is_image(walk, key)}
        root = os.fspath(spec.path)
        tables_of = {one.key: tables_near(one.key, owners if rule.tables else ()) for one in archives}
        shared = {table for tables in tables_of.values() for table in tables}
        tree = Tree(
            images,
            owners,
            lambda key: open(os.path.join(root, names[key]), "rb"),  # noqa: SIM115  # closed by its reader
            lambda key: f"source {spec.name}: {os.path.join(root, key) if key else root}",
            shared=shared,
        )
        looks_here = bool(owners) or not archives  # else the tables are in the archives
        with tree_captions(rule if looks_here else CaptionRule(), tree, context.cache_dir) as captions:
            walk.leave_out(
                owners - captions.companions - shared, LeftOutReason.UNUSED_COMPANION, "names no image"
            )
            only_beside = {key for key in images if captions.only_named_beside(key)}
            companions = captions.companions | shared | only_beside
            data, unread = _data_files(
                spec, walk, loose - images - companions, context.settings.max_image_bytes
            )
            naming = naming_tables(images, unread.keys(), tree.open)
            apart = [LeftOut(key, LeftOutReason.UNKNOWN_TYPE, told) for key, told in unread.items()]
            walk.record(as_unused(apart, {*images, *(one.key for one in archives)}, naming))
            said = {key: captions.of(key) for key in sorted(images - companions)}
            archives_told = beside_archives(table for tables in tables_of.values() for table in tables)
            counts = sum_counts([captions.counts, archives_told])
            attributes = {"captions": counts} if counts else {}
        beside = {key for captions_of in said.values() for one in captions_of for key in one.beside}
        hashed = sorted(said.keys() | packed | beside | shared | data.keys())
        walk.check_names({*hashed, *companions})
        paths = [os.path.join(root, walk.files[key]) for key in hashed]
        with FileHashes(context.cache_dir / _HASHES, workers=context.settings.worker_count) as hashes:
            digest_of = dict(zip(hashed, hashes.hash_many(paths), strict=True))
        items = [_item(key, names, spec.path, digest_of, said[key]) for key in said]
        packed_keys = [one.key for one in archives]
        loose_named = loose_paths((key for key in said if said[key]), packed_keys)
        crowded, alike = among_others(packed_keys), of_one_stem(packed_keys)
        containers = [
            archive_item(
                one,
                walk.files,
                spec.path,
                digest_of,
                spec.globs,
                tables_of[one.key],
                encoding=spec.encoding,
                said_by=rule.told,
                is_among_others=one.key in crowded,
                flags={
                    **beside_flags(one.key, packed_keys, captions.counts, tree.images, loose_named),
                    **({"same_stem": True} if one.key in alike else {}),
                },
            )
            for one in archives
        ]
        containers += [
            data_item(key, names[key], spec.path, digest_of[key], data[key]) for key in sorted(data)
        ]
        hints = unread_hints(walk.left_out, None if rule.told else said, naming=naming)
        if not items and not containers:
            told = "; ".join(["check path and include", *hints])
            raise SourceError(f"source {spec.name}: no file in {spec.path} matches; {told}")
        slices, buckets = _slices(spec, items, context.previous_buckets)
        slices += archive_slices(containers, {one.name for one in slices}, context.previous_buckets, buckets)
        return Listed(
            "folder", slices, buckets, attributes, walk.left_out,
            [*name_hints(archives, walk.files, spec.path, spec.encoding), *hints],
            upstream=walk.count,
            companions=len(companions) + len(packed) - len(archives),
            captions_unused=captions.counts.get("name_nothing", captions.counts.get("sidecars_unused")),
        )  # fmt: skip

    def fetch(self, spec: ClientFolderSpec, items: Sequence[Item], context: FetchContext) -> Iterator[Event]:
        """A record a file, or one a caption, whose bytes are read by the caller; or the members of an archive."""
        rule = spec.caption_rule()
        with FileHashes(context.cache_dir / _HASHES) as hashes:
            held = HeldFiles(spec.name, hashes)
            for item in items:
                if ROWS in item.payload:
                    yield from data_events(item, spec.path, context, held)
                elif "parts" in item.payload:
                    yield from archive_events(item, spec.path, spec.globs, spec.encoding, rule, context, held)
                else:
                    yield from _loose(spec, item)
                context.progress(1, item.size_bytes or 0)


SOURCE = ClientFolder()


def _loose(spec: ClientFolderSpec, item: Item) -> Iterator[Record | Reject]:
    """Records of an image, and of those beside it, each held to the hash that its identity has."""
    payload = item.payload
    beside = payload.get("beside", {})
    digests = item.identity.split(":")
    image = RecordImage(spec.path / _on_disk(item.key, payload.get("name_hex")), sha256=digests[1])
    listed = dict(zip(beside, digests[len(digests) - len(beside) :], strict=True))
    yield from caption_events(
        item.key, item.key, item.key, image, payload.get("captions", ()),
        open_image=partial(_beside, spec.path, beside, {item.key: digests[1], **listed}),
    )  # fmt: skip


def _sort_out(spec: ClientFolderSpec, walk: FolderWalk) -> tuple[list[FolderArchive], set[str]]:
    """The archives that are opened and the files they are in; leaves out what the catalogue does not want."""
    rule, globs = spec.caption_rule(), spec.globs
    archives, incomplete = find_archives(walk.files, globs, walk.head_of, is_opened)
    walk.record(incomplete_left_out(incomplete))
    packed = {file for archive in archives for file in archive.files}
    others = walk.files.keys() - packed - incomplete.keys()
    excluded = {key for key in others if not globs.lets_through(key) and not _may_own(rule, globs, key)}
    walk.leave_out(excluded, LeftOutReason.EXCLUDED)
    unread = {key for key in others - excluded if is_unread_archive(key)}
    walk.leave_out(unread, LeftOutReason.UNKNOWN_TYPE, "an archive that is not read")
    return archives, packed


def _may_own(rule: CaptionRule, globs: PathGlobs, key: str) -> bool:
    """Whether a file may hold words: it need not be included, but nobody excludes it."""
    return rule.may_own(key) and PathGlobs(exclude=globs.exclude).lets_through(key)


def _data_files(
    spec: ClientFolderSpec, walk: FolderWalk, keys: Iterable[str], max_image_bytes: int
) -> tuple[dict[str, DataFile], dict[str, str]]:
    """The Parquet and Arrow files among these that hold images; and all others, with what is to be told of them."""
    found: dict[str, DataFile] = {}
    unread: dict[str, str] = {}
    for key in sorted(keys):
        form, told = data_format(key), ""
        if form is not None:
            one = look(spec.path / walk.files[key], key, form, spec, max_image_bytes)
            if isinstance(one, DataFile):
                found[key] = one
                continue
            told = one[:300]
        unread[key] = told
    check_words(spec.name, spec, found.values())
    return found, unread


def is_image(walk: FolderWalk, key: str) -> bool:
    """Whether a file is an image by its name or by its first bytes, or cannot be read."""
    return is_image_name(key) or (head := walk.head_of(key)) is None or _is_image_head(head)


def _is_image_head(head: bytes) -> bool:
    from vlm_assets.archives.contents import is_image_head

    return is_image_head(head)


def _item(
    key: str, names: Mapping[str, str], root: Path, digest_of: Mapping[str, str], captions: list[Caption]
) -> Item:
    digest = digest_of[key]
    size = os.path.getsize(os.path.join(root, names[key])) if digest else None
    payload, told = caption_payload(captions)
    identity = [f"{size}:{digest}", told] if told else [f"{size}:{digest}"]
    if names[key] != key:  # on disk not in NFC, or not UTF-8
        payload["name_hex"] = os.fsencode(names[key]).hex()
    if beside := sorted({other for one in captions for other in one.beside} - {key}):
        payload["beside"] = {
            other: os.fsencode(names[other]).hex() if names[other] != other else None for other in beside
        }
        identity += [digest_of[other] for other in beside]
    return Item(key, ":".join(identity), payload, size)


def _on_disk(key: str, name_hex: str | None) -> str:
    return key if name_hex is None else os.fsdecode(bytes.fromhex(name_hex))


def _beside(
    root: Path, beside: Mapping[str, str | None], digests: Mapping[str, str], key: str
) -> RecordImage:
    """Another image of a row that names several."""
    return RecordImage(root / _on_disk(key, beside.get(key)), origin=key, sha256=digests.get(key, ""))


def _slices(
    spec: ClientFolderSpec, items: Sequence[Item], previous: Mapping[str, int]
) -> tuple[list[ListedSlice], dict[str, int]]:
    """Top folders, each in buckets of its own when large; or buckets of all files."""
    per_slice = spec.files_per_slice or _FILES_PER_SLICE
    by_folder: defaultdict[str, list[Item]] = defaultdict(list)
    whole = spec.files_per_slice is not None or spec.buckets is not None
    for item in items:
        by_folder["" if whole or "/" not in item.key else item.key.split("/", 1)[0]].append(item)
    slices: list[ListedSlice] = []
    buckets: dict[str, int] = {}
    for folder in sorted(by_folder):
        members = by_folder[folder]
        count = spec.buckets or previous.get(folder) or max(1, math.ceil(len(members) / per_slice))
        buckets[folder] = count
        name = folder or (_ROOT_SLICE if count == 1 and not whole else "")
        if count == 1 and name:
            slices.append(ListedSlice(name, members, items_per_slice=per_slice))
            continue
        parts: list[list[Item]] = [[] for _ in range(count)]
        for item in members:
            parts[bucket_of(item.key, count)].append(item)
        slices += [
            ListedSlice(
                "_".join(filter(None, (name, bucket_name(number, count)))), part, items_per_slice=per_slice
            )
            for number, part in enumerate(parts)
            if part
        ]
    return slices, buckets
