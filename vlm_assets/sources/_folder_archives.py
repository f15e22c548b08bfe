"""Archives among the files of a folder: which files make one up, and their members."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final

from vlm_assets.archives.encodings import name_hint
from vlm_assets.archives.forms import ZIP, form_of_file, is_archive_head
from vlm_assets.archives.limits import ArchiveLimits, DamagedArchiveError, MissingPartsError
from vlm_assets.archives.names import Encodings, is_archive_name, suffix_of
from vlm_assets.archives.split import find_split_archives, last_parts_missing
from vlm_assets.captions.trees import CaptionRule
from vlm_assets.sources._archives import PathGlobs, member_events, tables_beside, told_flags
from vlm_assets.sources._held_files import HeldFiles
from vlm_assets.words.contexts import FetchContext
from vlm_assets.words.errors import LeftOut, LeftOutReason
from vlm_assets.words.records import Event, Item

_LOOKED_AT: Final = 2000
"""Names of an archive that are looked at when it is listed."""


@dataclass(frozen=True, slots=True)
class FolderArchive:
    """One archive: the keys of the files that it is in, in order."""

    key: str
    files: tuple[str, ...]


def find_archives(
    keys: Iterable[str],
    globs: PathGlobs,
    head_of: Callable[[str], bytes | None],
    is_named: Callable[[str], bool] = is_archive_name,
) -> tuple[list[FolderArchive], dict[str, str]]:
    """Archives, split ones joined; and files that are parts of split archives, with what is missing of them.

    A file without any suffix is one where its first bytes say so, another where its name does (`is_named`).
    """
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
    archives += [
        FolderArchive(key, (key,))
        for key in names
        if (is_named(key) or not suffix_of(key))
        and globs.opens(key)
        and (is_named(key) or is_archive_head(head_of(key)))
    ]
    return sorted(archives, key=lambda one: one.key), incomplete_parts


def archive_item(
    archive: FolderArchive,
    names: Mapping[str, str],
    root: Path,
    digests: Mapping[str, str],
    globs: PathGlobs,
    tables: Sequence[str] = (),
    *,
    encoding: Encodings = None,
    said_by: str = "",
    is_among_others: bool = False,
    flags: Mapping[str, Any] = MappingProxyType({}),
) -> Item:
    """An archive as an item. Its identity is that of its files, which of its members are wanted, and their words.

    `encoding`: of its members' names. `said_by`: how their words are looked for, by what encoding too; `tables`:
    those that may speak of them; `flags`: what `beside_flags` says of these.
    """
    parts: list[dict[str, Any]] = []
    for key in archive.files:
        readable = bool(digests[key])
        size = (root / names[key]).stat().st_size if readable else None
        name_hex = os.fsencode(names[key]).hex()
        parts.append({"key": key, "name_hex": name_hex, "size": size, "sha256": digests[key]})
    told = f":{list(globs.include)}{list(globs.exclude)}" if globs != PathGlobs() else ""
    told += f":{encoding}" if encoding and not said_by else ""
    words = "".join(f"+{digests[key]}" for key in tables) + (f":{said_by}" if said_by else "")
    payload: dict[str, Any] = {"parts": parts}
    if tables:
        payload["tables"] = {key: os.fsencode(names[key]).hex() for key in tables}
        payload["tables_sha256"] = [digests[key] for key in tables]
        payload["among_others"] = is_among_others
        payload.update(flags)
        words += f":{is_among_others}{told_flags(flags)}"
    identity = "+".join(f"{part['size']}:{digests[part['key']]}" for part in parts) + told + words
    return Item(archive.key, identity, payload, sum(part["size"] or 0 for part in parts))


def name_hints(
    archives: Iterable[FolderArchive], names: Mapping[str, str], root: Path, encoding: Encodings
) -> list[str]:
    """What to do about names in zips that would come out wrong; one line, or none."""
    from vlm_assets.archives.zips import guessed_names

    found: list[str] = []
    for archive in archives:
        if len(archive.files) > 1:
            continue
        try:
            with (root / names[archive.files[0]]).open("rb") as file:
                if form_of_file(file) == ZIP:
                    found += guessed_names(file, encoding, _LOOKED_AT)
        except (OSError, DamagedArchiveError):  # reading it tells
            continue
    hint = name_hint(found)
    return [hint] if hint else []


def incomplete_left_out(parts: Mapping[str, str]) -> list[LeftOut]:
    """Parts of split archives that are not all there."""
    reason = LeftOutReason.SPLIT_ARCHIVE_INCOMPLETE
    return [LeftOut(key, reason, missing) for key, missing in sorted(parts.items())]


def archive_events(
    item: Item,
    root: Path,
    globs: PathGlobs,
    encoding: Encodings,
    rule: CaptionRule,
    context: FetchContext,
    held: HeldFiles,
) -> Iterator[Event]:
    """Members of an archive in a folder; a reject where it was replaced since it was listed.

    Raises:
        SourceError: it cannot be read to its end, or is replaced meanwhile, or what may hold words not for certain.
    """
    files = listed_files(item, root)
    if (reject := held.replaced(item, files)) is not None:
        yield reject
        return
    yield from _members(item, root, globs, encoding, rule, context)
    held.check(item, files)


def listed_files(item: Item, root: Path) -> dict[Path, str]:
    """The files of an archive and the tables that speak of it, with their sha256 as listed."""
    payload = item.payload
    tables = zip(payload.get("tables", {}).values(), payload.get("tables_sha256", ()), strict=False)
    names = [*((part["name_hex"], part.get("sha256", "")) for part in payload["parts"]), *tables]
    return {root / os.fsdecode(bytes.fromhex(name_hex)): digest for name_hex, digest in names}


def _members(
    item: Item, root: Path, globs: PathGlobs, encoding: Encodings, rule: CaptionRule, context: FetchContext
) -> Iterator[Event]:
    from vlm_assets.archives.captions import member_captions
    from vlm_assets.archives.read import Reading, read_members

    parts: Sequence[Mapping[str, Any]] = item.payload["parts"]
    paths = archive_files(item, root)
    reading = Reading(
        ArchiveLimits(context.settings.max_image_bytes), encoding=encoding, spool_dir=context.spool_dir
    )
    tables = {key: partial(_opened, root, name) for key, name in item.payload.get("tables", {}).items()}
    walk = partial(read_members, paths, where=item.key)
    beside = tables_beside(tables, item)
    try:
        with member_captions(rule, item.key, walk, reading, where=item.key, beside=beside) as captions:
            yield from member_events(
                walk(reading), item, item.key, captions=captions, globs=globs, prefix=f"{item.key}/"
            )
    except MissingPartsError as error:
        there = [(part["key"], part["size"]) for part in parts]
        yield from last_parts_missing(item.key, there, error, tables)


def archive_files(item: Item, root: Path) -> list[Path]:
    """The files that an archive is in, in order."""
    return [root / os.fsdecode(bytes.fromhex(part["name_hex"])) for part in item.payload["parts"]]


def _opened(root: Path, name_hex: str) -> BinaryIO:
    return (root / os.fsdecode(bytes.fromhex(name_hex))).open("rb")
