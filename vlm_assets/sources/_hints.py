"""What to do about files that are left out because their kind does not read them: a line for each sort. Pure."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

from vlm_assets.archives.names import is_archive_name, is_image_name, is_unread_archive, suffix_of
from vlm_assets.captions.naming_tables import NamingTable, looks_like_captions
from vlm_assets.captions.sidecars import named_like
from vlm_assets.captions.trees import METADATA_NAMES
from vlm_assets.sources._data_files import DATA_SUFFIXES
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import LeftOut, LeftOutReason

_NOT_READ: Final = frozenset({LeftOutReason.UNKNOWN_TYPE, LeftOutReason.UNUSED_COMPANION})
_SHEETS: Final = frozenset({".xls", ".xlsx", ".xlsb", ".ods", ".numbers"})
_WORDS: Final = (".txt", ".caption", ".json", ".xml", ".csv")
"""Of which there may be as many as images: they are of none of the sorts."""
_TOLD_TABLES: Final = 5
DATA_FILES_SORT: Final = "data files"
_SORTS: Final[Sequence[tuple[str, Callable[[str], bool], str]]] = (
    (
        DATA_FILES_SORT,
        lambda key: suffix_of(key) in DATA_SUFFIXES,
        "hf_disk takes rows that name files, and image_column; `text: NAME` takes one as captions",
    ),
    ("PDFs", lambda key: suffix_of(key) == ".pdf", "pdf_folder reads their pages, in a folder of them"),
    ("images", is_image_name, "client_folder reads them"),
    ("archives", is_archive_name, "client_folder reads what is in them"),
    ("archives", is_unread_archive, "nothing here does: unpack them"),
    (
        "spreadsheets",
        lambda key: suffix_of(key) in _SHEETS,
        "save one as CSV in UTF-8, and name that with `text`",
    ),
)


def unread_hints(
    left_out: Sequence[LeftOut],
    wordless: Collection[str] | None = None,
    *,
    reads: str = "",
    naming: Sequence[NamingTable] = (),
) -> list[str]:
    """A line for each sort of files that is not read.

    `wordless`: the keys of all images, where the catalogue asks for no words of theirs; `reads`: a sort that the kind
    reads, but for some; `naming`: tables of which it is known that they name images, which come first.
    """
    named = {one.key for one in naming}
    keys = [one.key for one in left_out if one.reason in _NOT_READ and one.key not in named]
    why = {one.key: f" ({one.detail})" for one in left_out if one.detail}
    hints = [one.told for one in naming[:_TOLD_TABLES]]
    others = [key for key in keys if not key.endswith(_WORDS)]
    for sort, is_one, told in _SORTS:
        if sort != reads and (found := [key for key in others if is_one(key)]):
            first = found[0] + (why.get(found[0], "") if sort == DATA_FILES_SORT else "")
            hints.append(
                f"{so_many(len(found), sort.removesuffix('s'))} not read by this kind, the first is {first}; {told}"
            )
    return hints if wordless is None else [*hints, *_caption_hints(keys, wordless)]


def _caption_hints(keys: Sequence[str], images: Collection[str]) -> Iterator[str]:
    sidecars = named_like(keys, images)
    if sidecars:
        yield (
            f"{so_many(len(sidecars), 'file')} with the names of images, the first is {sidecars[0]}: they may "
            "hold their captions, say text: sidecar"
        )
    known = set(sidecars)
    tables = {PurePosixPath(key).name for key in keys if key not in known and looks_like_captions(key)}
    if tables:
        told = sorted({"metadata" if name in METADATA_NAMES else name for name in tables})
        yield f"tables beside the images may hold their captions: say text: {' or '.join(told[:_TOLD_TABLES])}"
