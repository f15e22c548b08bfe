"""`client_folder`: image files and archives in a folder tree, with texts beside them or in one metadata file."""

import fnmatch
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

from vlm_assets.archives.names import is_archive_name, is_junk, is_unread_archive
from vlm_assets.archives.split import part_of
from vlm_assets.captions.keys import CaptionKeys
from vlm_assets.captions.samples import caption_events
from vlm_assets.captions.trees import Caption, Tree, caption_payload, tree_captions
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.sources._archives import PathGlobs, archive_slices
from vlm_assets.sources._folder_archives import (
    archive_events,
    archive_item,
    find_archives,
    incomplete_left_out,
)
from vlm_assets.sources.protocol import Requests, Traits
from vlm_assets.transfer.files import FileHashes
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import LeftOut, LeftOutReason, Reject, SourceError
from vlm_assets.words.layout import bucket_name, bucket_of, nfc
from vlm_assets.words.records import Item, Listed, ListedSlice, Record, RecordImage

_ROOT_SLICE: Final = "root"
_FILES_PER_SLICE: Final = 10_000


class ClientFolderSpec(CaptionKeys, SourceSpec):
    """Keys of a client folder. `include` and `exclude` are globs over the relative path, on into archives.

    Files that hold the images' words need not be included.
    """

    path: Path
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    files_per_slice: int | None = None

    @property
    def globs(self) -> PathGlobs:
        """`include` and `exclude`."""
        return PathGlobs(self.include, self.exclude)


class ClientFolder:
    """A slice is a top folder; or a bucket of files, where there are no folders or `files_per_slice` is set.

    An archive is a slice of its own; more than `ARCHIVE_SLICES` share buckets.
    """

    kind: ClassVar[str] = "client_folder"
    version: ClassVar[int] = 2
    spec_type: ClassVar[type[SourceSpec]] = ClientFolderSpec
    traits: ClassVar[Traits] = Traits(
        requests=Requests.NONE, renders_pages=False, memory_mib=8_192, badges=frozenset()
    )

    def list(self, spec: ClientFolderSpec, context: ListContext) -> Listed:
        """Every file but hidden ones and the texts' own, with (path, size, sha256) as its identity.

        Raises:
            SourceError: the folder is missing or empty; its texts cannot be read for certain, or name nothing.
        """
        names = _files(spec)
        root = os.fspath(spec.path)
        rule = spec.caption_rule()
        junk = {key for key in names if is_junk(key)}
        unread = {key for key in names if is_unread_archive(key)} - junk
        archives, parts = find_archives(names.keys() - junk - unread, spec.globs)
        packed = {file for archive in archives for file in archive.files}
        not_loose = junk | unread | parts.keys() | packed
        others = {key for key in names if rule.may_own(key)} - not_loose
        tree = Tree(
            names.keys() - others - not_loose,
            others,
            lambda key: open(os.path.join(root, names[key]), "rb"),  # noqa: SIM115  # closed by its reader
            lambda key: f"source {spec.name}: {os.path.join(root, key)}",
        )
        with tree_captions(rule, tree, context.cache_dir) as captions:
            loose = names.keys() - captions.companions - not_loose
            said = {
                key: captions.of(key)
                for key in sorted(loose)
                if _included(spec, key) and not captions.only_named_beside(key)
            }
            attributes = {"captions": captions.counts} if captions.counts else {}
        beside = {key for captions_of in said.values() for one in captions_of for key in one.beside}
        hashed = sorted(said.keys() | packed | beside)
        paths = [os.path.join(root, names[key]) for key in hashed]
        with FileHashes(context.cache_dir / "sha256.db", workers=context.settings.worker_count) as hashes:
            digest_of = dict(zip(hashed, hashes.hash_many(paths), strict=True))
        items = [_item(key, names, spec.path, digest_of, said[key]) for key in said]
        containers = [archive_item(one, names, spec.path, digest_of, spec.globs) for one in archives]
        if not items and not containers:
            raise SourceError(f"source {spec.name}: no file in {spec.path} matches; check path and include")
        slices, buckets = _slices(spec, items, context.previous_buckets)
        slices += archive_slices(containers, {one.name for one in slices}, context.previous_buckets, buckets)
        left_out = [
            *(LeftOut(key, LeftOutReason.OS_JUNK) for key in sorted(junk)),
            *(
                LeftOut(key, LeftOutReason.UNKNOWN_TYPE, "an archive that is not read")
                for key in sorted(unread)
            ),
            *incomplete_left_out(parts),
        ]
        return Listed("folder", slices, buckets, attributes, left_out)

    def fetch(
        self, spec: ClientFolderSpec, items: Sequence[Item], context: FetchContext
    ) -> Iterator[Record | Reject | LeftOut]:
        """A record a file, or one a caption, whose bytes are read by the caller; or the members of an archive."""
        for item in items:
            payload = item.payload
            if "parts" in payload:
                yield from archive_events(item, spec.path, spec.globs, spec.encoding, context)
                context.progress(1, item.size_bytes or 0)
                continue
            image = RecordImage(spec.path / _on_disk(item.key, payload.get("name_hex")))
            yield from caption_events(
                item.key, item.key, item.key, image, payload.get("captions", ()),
                open_image=partial(_beside, spec.path, payload.get("beside", {})),
            )  # fmt: skip
            context.progress(1, item.size_bytes or 0)


SOURCE = ClientFolder()


def _files(spec: ClientFolderSpec) -> dict[str, str]:
    """Names of regular files as they are on disk, by NFC key: the path below the folder with `/`.

    Links to files are followed, to folders not. A dangling link is listed too (and rejected when read); pipes,
    sockets and devices are no files.
    """
    if not spec.path.is_dir():
        raise SourceError(f"source {spec.name}: {spec.path} is not a folder; is the volume mounted?")
    root = os.fspath(spec.path)
    rule = spec.caption_rule()
    found: dict[str, str] = {}
    folders = [""]
    while folders:
        folder = folders.pop()
        for entry in _entries(spec, f"{root}/{folder}"):
            name = folder + entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(name + "/")
                continue
            special = not entry.is_file() and not entry.is_symlink()
            key = nfc(name)
            if special or _excluded(spec, key):
                continue
            if not (_included(spec, key) or rule.may_own(key) or is_archive_name(key) or part_of(key)):
                continue
            if key in found:
                raise SourceError(
                    f"source {spec.name}: two files are named {key} once in Unicode NFC; rename one of "
                    f"{os.fsencode(found[key])!r}, {os.fsencode(name)!r}"
                )
            found[key] = name
    return found


def _entries(spec: ClientFolderSpec, folder: str) -> list[os.DirEntry[str]]:
    """What a folder holds, hidden names left out.

    Raises:
        SourceError: it cannot be read; an item would be lost.
    """
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"source {spec.name}: cannot read {folder}: {error.strerror}") from error


def _included(spec: ClientFolderSpec, key: str) -> bool:
    return any(fnmatch.fnmatchcase(key, glob) for glob in spec.include)


def _excluded(spec: ClientFolderSpec, key: str) -> bool:
    return any(fnmatch.fnmatchcase(key, glob) for glob in spec.exclude)


def _item(
    key: str, names: Mapping[str, str], root: Path, digest_of: Mapping[str, str], captions: list[Caption]
) -> Item:
    digest = digest_of[key]
    size = os.path.getsize(os.path.join(root, names[key])) if digest else None
    payload, told = caption_payload(captions)
    identity = [f"{size}:{digest}", told] if told else [f"{size}:{digest}"]
    if names[key] != key:  # on disk not in NFC, or not UTF-8
        payload["name_hex"] = os.fsencode(names[key]).hex()
    beside = sorted({other for one in captions for other in one.beside} - {key})
    if beside:
        payload["beside"] = {
            other: os.fsencode(names[other]).hex() if names[other] != other else None for other in beside
        }
        identity += [digest_of[other] for other in beside]
    return Item(key, ":".join(identity), payload, size)


def _on_disk(key: str, name_hex: str | None) -> str:
    return key if name_hex is None else os.fsdecode(bytes.fromhex(name_hex))


def _beside(root: Path, beside: Mapping[str, str | None], key: str) -> RecordImage:
    """Another image of a row that names several."""
    return RecordImage(root / _on_disk(key, beside.get(key)), origin=key)


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
