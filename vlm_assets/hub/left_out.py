"""What of a repository's files is no item: companions, and what is left out with a reason. Pure."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from vlm_assets.archives.names import is_hidden, is_junk
from vlm_assets.captions.naming_tables import as_unused
from vlm_assets.captions.sidecars import named_like
from vlm_assets.captions.tables import is_table_name
from vlm_assets.captions.trees import METADATA_NAMES
from vlm_assets.hub.splits import DataSplit, format_of
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import LeftOut, LeftOutReason
from vlm_assets.words.layout import nfc
from vlm_assets.words.records import Item

_CARDS: Final = frozenset({"README.md", ".huggingface.yaml"})
_PACKED: Final = ("archive,", "webdataset,")
"""How the details of archives that no split takes begin."""
_ABOUT: Final = re.compile(
    r"(readme|licen[cs]e|copying|notice|citation|changelog|authors)([._-].*)?|.*\.(md|py)"
    r"|dataset_infos?\.json|dataset_dict\.json|state\.json",
    re.IGNORECASE,
)
"""Names of files that speak of the dataset as a whole: they belong to it, no sample does."""


@dataclass(frozen=True, slots=True)
class FilesApart:
    """The files of a repository that are no items."""

    companions: int
    left_out: tuple[LeftOut, ...]
    again: int
    """Items that are no file of their own: a file in a further split, an image that only a table names."""
    hints: tuple[str, ...] = ()


def files_apart(
    sizes: Mapping[str, int | None],
    splits: Sequence[tuple[DataSplit, Sequence[Item]]],
    tables: Collection[str] = (),
    unwanted: Collection[str] = (),
    formats: Callable[[str], str | None] = format_of,
) -> FilesApart:
    """Sorts out a repository's files.

    Args:
        sizes: Bytes of every file by path.
        splits: The wanted splits with their items.
        tables: Files that hold words by the catalogue.
        unwanted: Data files of splits that the catalogue does not name.
        formats: The reader of a file, None where there is none.
    """
    items = [item for _, found in splits for item in found]
    firsts = Counter(path for item in items for path in _files(item)[:1])
    others = {path for item in items for path in _files(item)[1:]} | set(tables)
    named = {path for split, _ in splits for path in (*split.metadata_files, *split.metadata_above)}
    companions = 0
    left_out: list[LeftOut] = []
    incomplete = {part: missing for split, _ in splits for part, missing in split.incomplete.items()}
    unnamed = {path for split, _ in splits for path in split.files}
    for path in sorted(sizes.keys() - firsts.keys()):
        if path in others or path in named or is_companion(path):
            companions += 1
            continue
        reason, detail = _why(path, formats(path), incomplete, unnamed, unwanted)
        left_out.append(LeftOut(nfc(path), reason, detail, sizes[path]))
    has_images = any(split.format in ("imagefolder", "archive", "webdataset") for split, _ in splits)
    hints = tuple(_hints(left_out, firsts, has_images=has_images))
    if has_images:
        left_out = as_unused(left_out, {nfc(path) for path in firsts})
    return FilesApart(companions, tuple(left_out), len(items) - len(firsts), hints)


def may_be_named(paths: Collection[str], splits: Sequence[tuple[DataSplit, Sequence[Item]]]) -> set[str]:
    """Files that no split takes and that are no companions: rows of tables may name them."""
    taken = {path for _, items in splits for item in items for path in _files(item)}
    taken |= {
        path for split, _ in splits for path in (*split.files, *split.metadata_files, *split.metadata_above)
    }
    others = (path for path in paths if path not in taken)
    return {path for path in others if not (is_companion(path) or is_hidden(path) or is_junk(path))}


def _files(item: Item) -> list[str]:
    """Paths of all files that an item is made from, its own first."""
    payload = item.payload
    own = payload.get("parts") or ([payload["file"]] if "file" in payload else [])
    tables = payload.get("tables", {}).get("files", {})
    beside = [*payload.get("beside", {}).values(), *payload.get("sidecars", ()), *tables.values()]
    return [str(one["path"]) for one in (*own, *beside)]


def is_companion(path: str) -> bool:
    """Whether a file speaks of the dataset as a whole."""
    return path in _CARDS or (not is_hidden(path) and _ABOUT.fullmatch(PurePosixPath(path).name) is not None)


def _why(
    path: str,
    form: str | None,
    incomplete: Mapping[str, str],
    unnamed: Collection[str],
    unwanted: Collection[str],
) -> tuple[LeftOutReason, str]:
    if path in incomplete:
        return LeftOutReason.SPLIT_ARCHIVE_INCOMPLETE, f"missing: {incomplete[path]}"
    if is_junk(path):
        return LeftOutReason.OS_JUNK, ""
    if is_hidden(path):
        return LeftOutReason.HIDDEN, ""
    if path in unwanted:
        return LeftOutReason.EXCLUDED, "of a config or split that is not wanted"
    if path in unnamed:
        return LeftOutReason.EXCLUDED, "no row of its tables names it"
    if PurePosixPath(path).name in METADATA_NAMES:
        return LeftOutReason.UNUSED_COMPANION, "beside no images"
    return LeftOutReason.UNKNOWN_TYPE, f"{form}, which no split takes" if form else ""


def _hints(left_out: Sequence[LeftOut], items: Collection[str], *, has_images: bool) -> Iterator[str]:
    """A line where files in a format that is read are taken by no split, one where they have the names of images."""
    unread = (one.key for one in left_out if one.reason is LeftOutReason.UNKNOWN_TYPE)
    sidecars = named_like(unread, {nfc(path) for path in items})
    if sidecars:
        yield (
            f"{so_many(len(sidecars), 'file')} with the names of images, the first is {sidecars[0]}: they may "
            f"hold their "
            "captions, say text: sidecar"
        )
    unused = [one.key for one in left_out if one.reason is LeftOutReason.UNUSED_COMPANION]
    if unused:
        yield f"{so_many(len(unused), 'table')} of captions joined to nothing, the first is {unused[0]}"
    lost = [one.key for one in left_out if one.reason is LeftOutReason.UNKNOWN_TYPE and one.detail]
    if not lost:
        return
    yield f"{so_many(len(lost), 'data file')} in no split, the first is {lost[0]}; see what is left out"
    packed = [one.key for one in left_out if one.detail.startswith(_PACKED)]
    if packed and not has_images:
        yield (
            f"if rows name what is in {packed[0]}: of the archives beside tables only zips without archives inside "
            "are looked into; a copy of the repository on this machine is read by client_folder, with text: TABLE"
        )
    beside = set(sidecars)
    tables = sorted({PurePosixPath(key).name for key in lost if is_table_name(key) and key not in beside})
    if has_images and tables:
        yield f"tables beside the images may hold their captions: say text: {' or '.join(tables[:5])}"
