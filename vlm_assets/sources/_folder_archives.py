"""Archives among the files of a folder: which files make one up, and their members."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm_assets.archives.names import Encodings, is_archive_name
from vlm_assets.archives.split import find_split_archives, last_parts_missing
from vlm_assets.sources._archives import PathGlobs, member_events
from vlm_assets.words.contexts import FetchContext
from vlm_assets.words.errors import LeftOut, LeftOutReason, Reject
from vlm_assets.words.records import Item, Record


@dataclass(frozen=True, slots=True)
class FolderArchive:
    """One archive: the keys of the files that it is in, in order."""

    key: str
    files: tuple[str, ...]


def find_archives(keys: Iterable[str], globs: PathGlobs) -> tuple[list[FolderArchive], dict[str, str]]:
    """Archives, split ones joined; and files that are parts of split archives, with what is missing of them."""
    names = set(keys)
    archives: list[FolderArchive] = []
    incomplete_parts: dict[str, str] = {}
    for split in find_split_archives(names):
        names.difference_update(split.parts)
        if not globs.opens(split.name):
            continue
        if split.missing:
            incomplete_parts.update(dict.fromkeys(split.parts, f"missing of {split.name}: {split.missing}"))
        else:
            archives.append(FolderArchive(split.name, split.parts))
    archives += [FolderArchive(key, (key,)) for key in names if is_archive_name(key) and globs.opens(key)]
    return sorted(archives, key=lambda one: one.key), incomplete_parts


def archive_item(
    archive: FolderArchive, names: Mapping[str, str], root: Path, digests: Mapping[str, str], globs: PathGlobs
) -> Item:
    """An archive as an item. Its identity is that of its files, and which of its members are wanted."""
    parts: list[dict[str, Any]] = []
    for key in archive.files:
        readable = bool(digests[key])
        size = (root / names[key]).stat().st_size if readable else None
        parts.append({"key": key, "name_hex": os.fsencode(names[key]).hex(), "size": size})
    told = f":{list(globs.include)}{list(globs.exclude)}" if globs != PathGlobs() else ""
    identity = "+".join(f"{part['size']}:{digests[part['key']]}" for part in parts) + told
    return Item(archive.key, identity, {"parts": parts}, sum(part["size"] or 0 for part in parts))


def incomplete_left_out(parts: Mapping[str, str]) -> list[LeftOut]:
    """Parts of split archives that are not all there."""
    reason = LeftOutReason.SPLIT_ARCHIVE_INCOMPLETE
    return [LeftOut(key, reason, missing) for key, missing in sorted(parts.items())]


def archive_events(
    item: Item, root: Path, globs: PathGlobs, encoding: Encodings, context: FetchContext
) -> Iterator[Record | Reject | LeftOut]:
    """Members of an archive in a folder.

    Raises:
        SourceError: it cannot be read to its end.
    """
    from vlm_assets.archives.limits import ArchiveLimits, MissingPartsError
    from vlm_assets.archives.read import Reading, read_members

    parts: Sequence[Mapping[str, Any]] = item.payload["parts"]
    paths = [root / os.fsdecode(bytes.fromhex(part["name_hex"])) for part in parts]
    reading = Reading(
        ArchiveLimits(context.settings.max_image_bytes), encoding=encoding, spool_dir=context.spool_dir
    )
    members = read_members(paths, reading, where=item.key)
    try:
        yield from member_events(members, item, item.key, globs=globs, prefix=f"{item.key}/")
    except MissingPartsError as error:
        yield from last_parts_missing(item.key, [(part["key"], part["size"]) for part in parts], error)
